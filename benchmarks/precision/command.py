"""The benchmark's parts: the tasks."""

from pathlib import Path

from rich.console import Console

from benchmarks import suite
from benchmarks.plan import Plan
from benchmarks.precision import measure, pages
from benchmarks.precision.tasks import TASKS

FULL = Plan("full", TASKS, range(5))
QUICK = FULL.shortened(10)


def carry_out(plan: Plan, folder: Path, console: Console) -> int:
    """Run the plan, write its results, and return the exit code."""
    parts = plan.parts(measure.of_task)
    return suite.carry_out(parts, folder, pages.publish, console, **plan.facts())
