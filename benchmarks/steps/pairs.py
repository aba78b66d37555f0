"""Two contenders compared: one row of the results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np

from benchmarks.steps.cases import LEARNING_RATE
from benchmarks.timing import Samples, Step, milliseconds

# Of a step's length: the contenders round in different places.
TOLERANCE = 1e-3
FLOAT32_SPACING = 2.0**-23


@dataclass(frozen=True)
class Pair:
    """A figure of two contenders; the parent adds the part and the number of cores."""

    what: str  # "fit", "update", …
    backend: str  # with its mode, as "tensorflow, XLA"
    size: str  # the model or the list of variables
    case: str
    subject: str
    other: str
    unit: str
    value: float  # of the subject, the median
    other_value: float
    ratio: float  # other over subject, the median over rounds: above 1, subject wins
    low: float  # quartiles of the ratio
    high: float


def compare(
    samples: Samples, subject: str, other: str, unit: str = "ms", **names: str
) -> Pair:
    """Return the row of two contenders; `names` are the other fields."""
    a, b = np.array(samples[subject]), np.array(samples[other])
    low, ratio, high = np.quantile(b / a, (0.25, 0.5, 0.75)).tolist()
    figures = float(np.median(a)), float(np.median(b)), ratio, low, high
    fields: dict[str, Any] = {**names, "subject": subject, "other": other, "unit": unit}
    return Pair(**fields | dict(zip(FIGURES, figures)))


FIGURES = ("value", "other_value", "ratio", "low", "high")


class Contender(NamedTuple):
    """A step to be timed."""

    step: Step  # takes one step, and returns when its result is ready
    values: Callable[[], list[np.ndarray]]  # returns the variables
    free: Callable[[], None] = lambda: None  # gives their memory back
    build: float = 0.0  # milliseconds of the optimizer's `build`


def tensors(arrays: Sequence[np.ndarray], dtype: str = "float32") -> list[Any]:
    """Return new tensors of the backend."""
    return [keras.ops.convert_to_tensor(array.copy(), dtype) for array in arrays]


def values_of(tensors: Sequence[Any]) -> list[np.ndarray]:
    """Return copies of tensors or variables."""
    return [np.array(keras.ops.convert_to_numpy(each)) for each in tensors]


def check_same_step(contenders: Mapping[str, Contender]) -> dict[str, list[float]]:
    """Let each take its first step, and compare with the first of them.

    Returns the milliseconds from a new optimizer to the end of its first step.

    Raises:
        AssertionError: One has taken another step.
    """
    times, expected = {}, list[np.ndarray]()
    for name, contender in contenders.items():
        times[name] = [contender.build + milliseconds(contender.step)]
        values = contender.values()
        expected = expected or values
        for theirs, ours in zip(values, expected, strict=True):
            rounded = FLOAT32_SPACING * np.maximum(np.abs(ours), LEARNING_RATE)
            beyond = np.abs(theirs - ours) - rounded - TOLERANCE * LEARNING_RATE
            assert beyond.max() <= 0, f"{name} takes another step: {beyond.max()}"
    return times
