"""The averages of 16-bit variables, as Keras's callback swaps them."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from keras import ops


@final
class SwappableAverage:
    """The average `b`, in float32, of a variable `a` of 16 bits, and its assignment.

    `keras.callbacks.SwapEMAWeights` swaps the two on TensorFlow with `a ← a + b`,
    `b ← a − b`, `a ← a − b`, and elsewhere with `a ← b`, `b ← the old a`: neither knows
    of the carry, and 16 bits are too few for the sums. So `b` is zero in them, and its
    assignment swaps all there is, to the last bit: the average with `a` and its carry.
    Keras's copy of `a` to `b`, in which a variable is assigned, stays a copy.
    """

    def __init__(self, optimizer: Any, variable: Any, average: Any):
        self._optimizer, self._variable = optimizer, variable
        self._average = average

    def assign(self, value: Any) -> None:
        if hasattr(value, "assign"):
            self._average.assign(self._optimizer._read(self._variable))
            return
        strategy = getattr(self._optimizer, "_distribution_strategy", None)
        if strategy is not None and strategy.num_replicas_in_sync > 1:
            raise ValueError(
                "Expected variables of 32 bits or more, or one replica, to swap with "
                f"their averages. Received: {self._variable.path} of dtype "
                f"{self._variable.dtype} on {strategy.num_replicas_in_sync} replicas"
            )
        exact = self._optimizer._read(self._variable, held=value)
        self._optimizer._write(self._variable, ops.convert_to_tensor(self._average))
        self._average.assign(exact)

    def __mul__(self, factor: Any) -> Any:
        return self._average * factor

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(ops.convert_to_numpy(self._average), dtype)

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> Any:
        return ops.zeros(self._variable.shape, self._variable.dtype)
