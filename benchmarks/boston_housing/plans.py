"""What a run of the benchmark consists of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.boston_housing import data
from benchmarks.boston_housing.data import Split
from benchmarks.boston_housing.experiments import EXPERIMENTS, Experiment

SEEDS = 4
QUICK_SEEDS = 2
QUICK_SHORTENING = 20

_SOURCES: dict[str, Callable[[], Split]] = {
    "shipped": data.shipped,
    "keras": data.from_keras,
}


@dataclass(frozen=True)
class Plan:
    """What to run.

    `data` names where the split comes from; the experiments run one epoch for every
    `shortening` epochs of the chapter's.
    """

    experiments: Sequence[Experiment]
    seeds: Sequence[int]
    split: Split
    data: str
    shortening: int = 1


def full(source: str, seeds: int | None = None) -> Plan:
    """Return the chapter's experiments as they are."""
    return Plan(EXPERIMENTS, range(seeds or SEEDS), _SOURCES[source](), source)


def quick(source: str, seeds: int | None = None) -> Plan:
    """Return all of the chapter's experiments, each cut short."""
    return Plan(
        [experiment.shortened(QUICK_SHORTENING) for experiment in EXPERIMENTS],
        range(seeds or QUICK_SEEDS),
        _SOURCES[source](),
        source,
        QUICK_SHORTENING,
    )
