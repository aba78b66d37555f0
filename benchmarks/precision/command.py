"""The benchmark's parts: the tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks import suite
from benchmarks.precision import measure, pages
from benchmarks.precision.tasks import Task
from benchmarks.precision.variants import TASKS, VARIANTS, Variant
from benchmarks.suite import Part


@dataclass(frozen=True)
class Plan:
    """Which variants of which tasks to train."""

    name: str
    tasks: Sequence[Task]
    seeds: Sequence[int]
    variants: Sequence[Variant] = VARIANTS


FULL = Plan("full", TASKS, range(5))
QUICK = Plan("quick", [task.shortened(10) for task in TASKS], range(2))


def carry_out(plan: Plan, folder: Path, console: Console) -> int:
    """Run the plan, write its results, and return the exit code."""
    runs = len(plan.seeds) * len(plan.variants)
    parts = [
        Part(
            task.title,
            task.epochs * runs,
            partial(measure.of_task, task, plan.variants, plan.seeds),
        )
        for task in plan.tasks
    ]
    facts = {"plan": plan.name, "seeds": list(plan.seeds)}
    return suite.carry_out(parts, folder, pages.publish, console, **facts)
