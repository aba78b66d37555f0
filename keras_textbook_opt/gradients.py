"""A gradient in one of two forms: `Rows` where it is sparse, `Dense` where it is not.

Both have `values`, `with_values`, `merged` and `assignable`, and multiplication and
division by a scalar.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from keras_textbook_opt import backends, rows
from keras_textbook_opt.rows import Rows


class Dense(NamedTuple):
    """The dense gradient `scale·unscaled`, not multiplied out; a scale of `None` is 1.

    A kernel takes the scale as a scalar and saves a pass over the gradient. What is
    not multiplied out may be of 16 bits; `values` are of the compute dtype.
    """

    unscaled: Any
    scale: Any = None

    @classmethod
    def of(cls, tensor: Any) -> Dense:
        return cls(tensor)

    @classmethod
    def mean(cls, total: Any, count: int) -> Dense:
        """`Σg/count`."""
        return cls(ops.convert_to_tensor(total), 1 / count)

    @property
    def values(self) -> Any:
        return backends.active.product(self.unscaled, self.scale)

    def with_values(self, values: Any) -> Dense:
        return Dense(values)

    def __mul__(self, factor: Any) -> Dense:
        scale = factor if self.scale is None else factor * self.scale
        return Dense(self.unscaled, scale)

    def __truediv__(self, divisor: float) -> Dense:
        if backends.active.scales_late:
            return self * (1 / divisor)
        return Dense(self.values / divisor)

    def merged(self) -> Dense:
        return self

    def assignable(self) -> Any:
        return self.values


def structured(gradient: Any) -> Rows | Dense:
    """`gradient` as `Rows` where it is sparse, as `Dense` where it is dense."""
    if isinstance(gradient, (Rows, Dense)):
        return gradient
    if rows.is_indexed_slices(gradient):
        return Rows(gradient.indices, gradient.values)
    return Dense(ops.convert_to_tensor(gradient))


def like(original: Any, gradient: Rows | Dense) -> Any:
    """`gradient` in the form that `original` has."""
    if isinstance(original, (Rows, Dense)):
        return gradient
    return plain(gradient)


def plain(gradient: Any) -> Any:
    """`gradient` as Keras has it: a tensor, or `tf.IndexedSlices` if sparse."""
    return gradient.assignable() if isinstance(gradient, (Rows, Dense)) else gradient
