"""What is timed, the check that all of it does the same work, and the rows it gives."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks import rows, timing
from benchmarks.rows import Row
from benchmarks.steps.optimizers import EXACT, LAZY, LEARNING_RATE, OURS, WITHOUT
from benchmarks.timing import Step

# Of a step's length: they round in other places.
TOLERANCE = 1e-3
# Of a value: the distance of two numbers that follow each other.
SPACING = {"float32": 2.0**-23, "bfloat16": 2.0**-7}

FLOOR = "floor"
MILLISECONDS = "ms"
# The quantile of the best of all tries.
BEST = 0.0

# A title for the progress bar, and rows that are measured when they are asked for.
Work = tuple[str, Iterator[Row]]


class Contender(NamedTuple):
    """`step()` returns when its result is there; `values()` are the variables."""

    step: Step
    values: Callable[[], list[np.ndarray]]


def check_same_step(
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


def timed(
    samples: timing.Samples, ratios: Sequence[tuple[str, str]] = (), /, **names: str
) -> Iterator[Row]:
    """Return the quartiles of each subject's time, and of ratios within a round.

    These are of all others to each of ours, if no others are named.
    """
    for subject, each in samples.items():
        yield from rows.quartiles(each, subject=subject, unit=MILLISECONDS, **names)
    for over, under in ratios or _against_ours(samples):
        ratio = timing.ratios(samples[over], samples[under])
        its_name = rows.ratio_name(over, under)
        yield from rows.quartiles(ratio, subject=its_name, unit="", **names)


def _against_ours(samples: timing.Samples) -> Iterator[tuple[str, str]]:
    all_of_ours = [name for name in samples if name in (OURS, EXACT, LAZY)]
    for ours in all_of_ours:
        for other in samples:
            if other not in all_of_ours:
                yield (ours, other) if other == WITHOUT else (other, ours)


def best(value: float, **names: str) -> Row:
    """Return the row of a floor."""
    return Row(subject=FLOOR, quantile=BEST, value=value, unit=MILLISECONDS, **names)
