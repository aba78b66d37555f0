"""The lines of the table: a variant's losses, and whether they came near to float32."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import rows
from benchmarks.precision.measure import FINAL, MOVED, OWN
from benchmarks.precision.tasks import TASKS, Task
from benchmarks.precision.variants import (
    NARROW,
    PROMISED,
    REFERENCES,
    VARIANTS,
)
from benchmarks.training import Array

TOLERANCE = 0.05


def lines(found: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each task and variant that was measured."""
    measured = set(zip(found["part"], found["subject"], strict=True))
    return pd.DataFrame(
        [
            _line(found, task, subject)
            for task in TASKS
            for subject in VARIANTS
            if (task.name, subject) in measured
        ]
    )


def _line(found: pd.DataFrame, task: Task, subject: str) -> dict[str, Any]:
    """Return a line: by seed are arrays, and distances are from float32.

    A verdict is on the medians: near of the losses in float32, near in own of those in
    the dtype of the model.
    """

    def losses(case: str, subject: str = subject) -> Array:
        names = {"part": task.name, "case": case, "subject": subject}
        return rows.find(found, **names)["value"].to_numpy()

    optimizer, dtype = VARIANTS[subject]
    final, own = losses(FINAL), losses(OWN)
    wide = losses(FINAL, f"{REFERENCES.get(optimizer, optimizer)}, float32")
    compared = dtype in NARROW and len(wide) > 0
    reference = wide if compared else np.full_like(final, np.nan)
    from_float32 = distance(np.median(final), np.median(reference)).item()
    in_own = distance(np.median(own), np.median(reference)).item()
    return {
        "task": task,
        "optimizer": optimizer,
        "dtype": dtype,
        "name": f"{task.title}, {optimizer} in {dtype}",
        "final": final,
        "by_seed": distance(final, reference),
        "from_float32": from_float32,
        "compared": compared,
        "promised": compared and optimizer in PROMISED,
        "near": abs(from_float32) <= TOLERANCE,
        "near_in_own": abs(in_own) <= TOLERANCE,
        "moved": rows.median(found, part=task.name, case=MOVED, subject=subject),
    }


def distance(losses: npt.ArrayLike, reference: npt.ArrayLike) -> Array:
    """Return `losses/reference − 1`; NaN where one of them is not finite."""
    a, b = np.asarray(losses), np.asarray(reference)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(a) & np.isfinite(b), a / b - 1, np.nan)
