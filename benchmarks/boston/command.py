"""The benchmark's parts: whether the path is the same, and each experiment."""

from pathlib import Path

from rich.console import Console

from benchmarks import rows, suite
from benchmarks.boston import measure, pages
from benchmarks.boston.experiments import EXPERIMENTS
from benchmarks.plan import Plan
from benchmarks.suite import Part

FULL = Plan("full", EXPERIMENTS, range(4))
QUICK = FULL.shortened(20)


def carry_out(plan: Plan, folder: Path, console: Console) -> int:
    """Run the plan, write its results, and return the exit code.

    It is 1 if ours leaves the built-in's path in float64.
    """
    path = Part("the same path", 1, measure.same_path)
    parts = [path, *plan.parts(measure.of_experiment)]
    code = suite.carry_out(parts, folder, pages.publish, console, **plan.facts())
    return code or int(len(pages.apart(rows.read(folder))) > 0)
