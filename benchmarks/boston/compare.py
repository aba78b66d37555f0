"""How far apart two loss curves of one seed are."""

import numpy as np
import numpy.typing as npt


def largest_difference(curve: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Return the largest |a − b| / max(|a|, |b|) of all steps.

    It is 0 where both are the same, infinities included, and infinite where only one
    of them is finite.
    """
    a, b = np.asarray(curve, "float64"), np.asarray(reference, "float64")
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    a, b = a[~same], b[~same]
    comparable = np.isfinite(a) & np.isfinite(b)
    if not comparable.all():
        return np.inf
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(a), np.abs(b)), initial=0))
