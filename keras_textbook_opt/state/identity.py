"""Which variable is which: by its place in a list, by its path, by what it holds.

Keras numbers paths anew in each process, and puts weights where a model's structure
says, so that a path alone can mislead. What a variable holds does not: whoever has the
weights of a saved variable is that variable.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_textbook_opt.variables import path_of

SAMPLED = 16
# JAX has no larger index.
LAST = 2**31 - 1


class Identity(NamedTuple):
    """What is known of a variable, here or in a file.

    Args:
        path: Its path in the model.
        shape: Its shape.
        dtype: Its dtype.
        trainable: Whether it was to be trained, and not frozen.
        decays: Whether weight decay was to act on it.
        sample: Up to 16 of its elements, float32; `None` if they are not known.
        factor: What its learning rate was multiplied by.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    trainable: bool = True
    decays: bool = True
    sample: np.ndarray | None = None
    factor: float = 1.0

    def contents(self, dtype: str) -> tuple | None:
        """Its shape and what it holds, as a variable of `dtype` would hold it."""
        if self.sample is None:
            return None
        with np.errstate(over="ignore"):
            return self.shape, self.sample.astype(dtype).astype("<f4").tobytes()

    def is_held_by(self, here: Identity) -> bool:
        """Whether the variable `here` holds what this one held when it was saved."""
        contents = self.contents(here.dtype)
        return contents is not None and contents == here.contents(here.dtype)

    def to_json(self) -> list[Any]:
        text = None
        if self.sample is not None:
            text = base64.b64encode(self.sample.astype("<f4").tobytes()).decode()
        return [*self[:5], text, *([] if self.factor == 1 else [self.factor])]

    @classmethod
    def from_json(cls, written: list[Any]) -> Identity:
        path, shape, dtype, trainable, decays, text, *factor = written
        sample = None
        if text is not None:
            sample = np.frombuffer(base64.b64decode(text), "<f4")
        return cls(path, tuple(shape), dtype, trainable, decays, sample, *factor)


def identity(variable: Any, decays: bool = True, factor: float = 1.0) -> Identity:
    """Who `variable` is now; what it holds is read from its device."""
    return Identity(
        path_of(variable),
        tuple(variable.shape),
        keras.backend.standardize_dtype(variable.dtype),
        is_trainable(variable),
        decays,
        _sample(variable),
        factor,
    )


def is_trainable(variable: Any) -> bool:
    """Whether `variable` is to be trained; what does not say so is."""
    return bool(getattr(variable, "trainable", True))


def _sample(variable: Any) -> np.ndarray | None:
    """Elements at even distances, the first and the last among them."""
    size = math.prod(variable.shape)
    if size == 0:
        return np.zeros(0, "float32")
    where = np.unique(np.linspace(0, min(size - 1, LAST), SAMPLED).astype("int32"))
    value = variable.value if isinstance(variable, keras.Variable) else variable
    try:
        elements = ops.take(ops.reshape(ops.convert_to_tensor(value), (-1,)), where)
        return np.asarray(ops.convert_to_numpy(ops.cast(elements, "float32")))
    except RuntimeError:  # JAX: some of its elements are on other machines
        return None


def unique(names: Iterable[str]) -> list[str]:
    """The names, each once: the second `name` is `name#2`."""
    names = list(names)
    given, found = set(names), dict[str, None]()
    for name in names:
        label, count = name, 1
        while label in found or (count > 1 and label in given):
            count += 1
            label = f"{name}#{count}"
        found[label] = None
    return list(found)


def bare(path: str) -> list[str]:
    """The parts of `path`, without the numbers that Keras counts its layers with."""
    return re.sub(r"_\d+(?=/|$)", "", path).split("/")
