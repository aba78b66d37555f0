"""To the bit: what two runs left is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.backends import numbers


def assert_same(
    given: Sequence[np.ndarray], expected: Sequence[np.ndarray], message: str = ""
) -> None:
    """As many arrays, each with the shape, the dtype and the values of the other."""
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_array_equal(one, other, message, strict=True)


def assert_hold_the_same(trained: Any, expected: Any) -> None:
    """Two models, or what else has variables and an optimizer, hold the same."""
    assert_same(_held(trained), _held(expected))


def _held(trained: Any) -> list[np.ndarray]:
    return list(map(numbers, [*trained.variables, *trained.optimizer.variables]))
