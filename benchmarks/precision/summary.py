"""The figures of a task's variants, and whether 16 bits come near to float32."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.precision.tasks import Task
from benchmarks.precision.train import Run
from benchmarks.precision.variants import NARROW, Variant

TOLERANCE = 0.05


@dataclass(frozen=True)
class Comparison:
    """A final loss beside the one of the same optimizer in float32.

    Args:
        of_medians: The relative difference of the medians over the seeds.
        by_seed: The relative difference of each seed.
    """

    of_medians: float
    by_seed: tuple[float, ...]

    @property
    def is_near(self) -> bool:
        """Whether the medians are within the tolerance; NaN is not."""
        return abs(self.of_medians) <= TOLERANCE


@dataclass(frozen=True)
class VariantSummary:
    """One line of the table. Losses and curves are by seed.

    `kept` says whether the promise was, where there is one.
    """

    optimizer: str
    dtype: str
    promised: bool
    learning_rate: float
    final_losses: tuple[float, ...]
    own_losses: tuple[float, ...]
    curves: tuple[tuple[float, ...], ...]
    smallest_moved: float
    largest_moved: float
    from_float32: Comparison | None
    own_from_float32: Comparison | None
    kept: bool | None

    @property
    def median(self) -> float:
        return median(self.final_losses)


@dataclass(frozen=True)
class TaskSummary:
    """The table's lines of one task."""

    name: str
    title: str
    unit: str
    epochs: int
    steps: int
    parameters: int
    seconds: float
    variants: tuple[VariantSummary, ...]


def summarize(
    task: Task, runs: Mapping[Variant, Sequence[Run]]
) -> tuple[VariantSummary, ...]:
    """Return the lines of a task, in the order of the runs."""
    float32 = {
        variant.optimizer: [run.final_loss for run in runs[variant]]
        for variant in runs
        if variant.dtype == "float32"
    }
    return tuple(_line(task, v, runs[v], float32.get(v.reference)) for v in runs)


def _line(
    task: Task,
    variant: Variant,
    runs: Sequence[Run],
    float32: Sequence[float] | None,
) -> VariantSummary:
    final = tuple(run.final_loss for run in runs)
    own = tuple(run.own_loss for run in runs)
    compared = float32 if variant.dtype in NARROW else None
    from_float32 = compare(final, compared) if compared else None
    kept = from_float32.is_near if from_float32 and variant.promised else None
    return VariantSummary(
        optimizer=variant.optimizer,
        dtype=variant.dtype,
        promised=variant.promised,
        learning_rate=task.learning_rates[variant.learning_rate_of],
        final_losses=final,
        own_losses=own,
        curves=tuple(run.curve for run in runs),
        smallest_moved=min(run.moved for run in runs),
        largest_moved=max(run.moved for run in runs),
        from_float32=from_float32,
        own_from_float32=compare(own, compared) if compared else None,
        kept=kept,
    )


def compare(losses: Sequence[float], references: Sequence[float]) -> Comparison:
    """Return the relative differences of losses from those of the same seeds."""
    return Comparison(
        relative_difference(median(losses), median(references)),
        tuple(map(relative_difference, losses, references)),
    )


def median(losses: Sequence[float]) -> float:
    """Return the median, which is not a number if one of the losses is not."""
    return float(np.median(losses))


def relative_difference(loss: float, reference: float) -> float:
    """Return `loss/reference − 1`; NaN where one of them is not finite."""
    if not (math.isfinite(loss) and math.isfinite(reference)):
        return math.nan
    return loss / reference - 1
