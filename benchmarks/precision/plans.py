"""What a run of the benchmark consists of."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.precision import boston, embedding, transformer
from benchmarks.precision.tasks import Task
from benchmarks.precision.variants import VARIANTS, Variant

SEEDS = 5
QUICK_SEEDS = 2
QUICK_SHORTENING = 10
TASKS = (boston.TASK, embedding.TASK, transformer.TASK)


@dataclass(frozen=True)
class Plan:
    """Which variants of which tasks to train, with one epoch for `shortening`."""

    tasks: Sequence[Task]
    seeds: Sequence[int]
    variants: Sequence[Variant] = VARIANTS
    shortening: int = 1


def full() -> Plan:
    """Return all tasks at their length."""
    return Plan(TASKS, range(SEEDS))


def quick() -> Plan:
    """Return all tasks, each cut short."""
    return Plan(
        [task.shortened(QUICK_SHORTENING) for task in TASKS],
        range(QUICK_SEEDS),
        shortening=QUICK_SHORTENING,
    )
