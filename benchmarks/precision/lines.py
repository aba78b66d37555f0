"""The lines of the table: a variant's losses, and whether it came near to float32."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks import rows
from benchmarks.precision.measure import FINAL, MOVED, OWN
from benchmarks.precision.tasks import Task
from benchmarks.precision.variants import NARROW, TASKS, VARIANTS, Variant
from benchmarks.rows import find

TOLERANCE = 0.05

Losses = Sequence[float]


@dataclass(frozen=True)
class Line:
    """A variant of a task. Losses are by seed.

    `references` are those of the same optimizer in float32, if it was trained.
    """

    task: Task
    variant: Variant
    final: Losses
    own: Losses
    references: Losses
    moved: float

    @property
    def name(self) -> str:
        return f"{self.task.title}, {self.variant.optimizer} in {self.variant.dtype}"

    @property
    def median(self) -> float:
        return float(np.median(self.final))

    @property
    def is_narrow(self) -> bool:
        return self.variant.dtype in NARROW

    @property
    def is_compared(self) -> bool:
        return self.is_narrow and bool(self.references)

    @property
    def is_promised(self) -> bool:
        return self.variant.promised and self.is_compared

    @property
    def from_float32(self) -> float:
        """Return the relative distance of the medians."""
        return distance(np.median(self.final), np.median(self.references))

    @property
    def by_seed(self) -> list[float]:
        """Return the relative distances of each seed from its own in float32."""
        return list(map(distance, self.final, self.references))

    @property
    def is_near(self) -> bool:
        """Return whether the medians are within the tolerance; NaN is not."""
        return self.is_compared and abs(self.from_float32) <= TOLERANCE

    @property
    def is_near_in_its_own_dtype(self) -> bool:
        own = distance(np.median(self.own), np.median(self.references))
        return abs(own) <= TOLERANCE


def lines(found: pd.DataFrame) -> list[Line]:
    """Return a line for each task and variant that was measured."""
    measured = set(zip(found["part"], found["subject"], strict=True))
    return [
        Line(
            task,
            variant,
            _losses(found, task, FINAL, variant.name),
            _losses(found, task, OWN, variant.name),
            _losses(found, task, FINAL, f"{variant.reference}, float32"),
            rows.median(found, part=task.name, case=MOVED, subject=variant.name),
        )
        for task in TASKS
        for variant in VARIANTS
        if (task.name, variant.name) in measured
    ]


def distance(loss: float, reference: float) -> float:
    """Return `loss/reference − 1`; NaN where one of them is not finite."""
    if not (np.isfinite(loss) and np.isfinite(reference)):
        return float("nan")
    return float(loss / reference - 1)


def _losses(found: pd.DataFrame, task: Task, case: str, subject: str) -> Losses:
    return find(found, part=task.name, case=case, subject=subject)["value"].tolist()
