"""The benchmark's parts: whether the path is the same, and each experiment."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks import rows, suite
from benchmarks.boston import data, measure, pages, same_path
from benchmarks.boston.experiments import EXPERIMENTS, Experiment
from benchmarks.suite import Part


@dataclass(frozen=True)
class Plan:
    """What to run."""

    name: str
    experiments: Sequence[Experiment]
    seeds: Sequence[int]


FULL = Plan("full", EXPERIMENTS, range(4))
QUICK = Plan("quick", [each.shortened(20) for each in EXPERIMENTS], range(2))


def carry_out(plan: Plan, folder: Path, console: Console) -> int:
    """Run the plan, write its results, and return the exit code.

    It is 1 if ours leaves the built-in's path in float64.
    """
    split = data.shipped()
    laboratory = measure.Laboratory(split)
    parts = [
        Part(
            "the same path",
            len(same_path.PAIRS),
            lambda advance: list(measure.same_paths(split, advance)),
        ),
        *(
            Part(
                experiment.title,
                len(plan.seeds) * laboratory.steps(experiment),
                partial(laboratory.rows, experiment, plan.seeds),
            )
            for experiment in plan.experiments
        ),
    ]
    facts = {"plan": plan.name, "seeds": list(plan.seeds)}
    code = suite.carry_out(parts, folder, pages.publish, console, **facts)
    return code or int(pages.is_any_apart(rows.read(folder)))
