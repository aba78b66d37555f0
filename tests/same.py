"""To the bit: what two runs left is the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def assert_same(
    given: Sequence[np.ndarray], expected: Sequence[np.ndarray], message: str = ""
) -> None:
    """As many arrays, each with the shape, the dtype and the values of the other."""
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_array_equal(one, other, message, strict=True)
