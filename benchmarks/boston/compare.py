"""How far apart two loss curves of one seed are."""

import numpy as np
import numpy.typing as npt

FIRST_STEPS = 100
FIRST = f"apart, first {FIRST_STEPS} steps"
WHOLE = "apart, whole run"

Curve = npt.ArrayLike


def largest_differences(curve: Curve, reference: Curve) -> dict[str, float]:
    """Return the largest relative difference over the first steps, and over all."""
    differences = relative_differences(curve, reference)
    return {FIRST: differences[:FIRST_STEPS].max(), WHOLE: differences.max()}


def relative_differences(curve: Curve, reference: Curve) -> npt.NDArray[np.float64]:
    """Return |a − b| / max(|a|, |b|) step by step.

    It is 0 where both are the same, infinities included, and infinite where only one
    of them is finite.
    """
    a = np.asarray(curve, dtype="float64")
    b = np.asarray(reference, dtype="float64")
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    differences = np.where(same, 0.0, np.inf)
    comparable = np.isfinite(a) & np.isfinite(b) & ~same
    a, b = a[comparable], b[comparable]
    differences[comparable] = np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))
    return differences
