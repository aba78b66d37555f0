"""What is timed, and the check that all of it does the same work."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from benchmarks.steps.optimizers import LEARNING_RATE

# Of a step's length: they round in other places.
TOLERANCE = 1e-3
# Of a value: the distance of two numbers that follow each other.
SPACING = {"float32": 2.0**-23, "bfloat16": 2.0**-7}


class Contender(NamedTuple):
    """`step()` returns when its result is there; `values()` are the variables."""

    step: Callable[[], object]
    values: Callable[[], list[np.ndarray]]


def check_all_take_the_same_step(
    contenders: Mapping[str, Contender], dtype: str = "float32"
) -> None:
    """Let each take its first step, and compare with the first of them.

    Raises:
        AssertionError: One has taken another step.
    """
    expected: list[np.ndarray] = []
    for name, contender in contenders.items():
        contender.step()
        values = contender.values()
        expected = expected or values
        for theirs, ours in zip(values, expected, strict=True):
            rounded = SPACING[dtype] * np.maximum(np.abs(ours), LEARNING_RATE)
            beyond = np.abs(theirs - ours) - rounded - TOLERANCE * LEARNING_RATE
            assert beyond.max() <= 0, f"{name} steps elsewhere, by {beyond.max()}"
