"""A sparse gradient: the indices of the rows that it touches, and their values.

TensorFlow hands the gradient of an embedding table as `tf.IndexedSlices`, in which an
index stands as often as its row was looked up. The gradient of that row is the sum of
the repeats. Whatever is linear may be done to the repeats; every nonlinear use of a row
(`g²`, `‖g‖`, a clip) wants them `merged`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


class Rows(NamedTuple):
    """`gᵢ = Σ values[k]` over all `k` with `indices[k] = i`; no such `k`: `gᵢ = 0`.

    Args:
        indices: Integers of shape `(n,)`, in any order.
        values: Floats of shape `(n, *variable.shape[1:])`.
        unique: Whether no index is repeated.
    """

    indices: Any
    values: Any
    unique: bool = False

    def with_values(self, values: Any) -> Rows:
        return self._replace(values=values)

    def __mul__(self, factor: Any) -> Rows:
        return self.with_values(self.values * factor)

    def __truediv__(self, divisor: Any) -> Rows:
        return self.with_values(self.values / divisor)

    def __add__(self, dense: Any) -> Rows:
        """This gradient on top of a dense sum of earlier ones: the rows not zero."""
        total = tf.tensor_scatter_nd_add(dense, self.indices[:, None], self.values)
        other_axes = list(range(1, len(total.shape)))
        touched = tf.where(tf.reduce_any(total != 0, axis=other_axes))[:, 0]
        return Rows(touched, tf.gather(total, touched), unique=True)

    def merged(self) -> Rows:
        """The same gradient with each row once."""
        if self.unique:
            return self
        indices, position = tf.unique(self.indices)
        values = tf.math.unsorted_segment_sum(self.values, position, tf.size(indices))
        return Rows(indices, values, unique=True)

    def to_dense(self, shape: Any) -> Any:
        """The same gradient as one tensor of `shape`, zeros included."""
        return tf.scatter_nd(self.indices[:, None], self.values, shape)

    def to_indexed_slices(self) -> tf.IndexedSlices:
        return tf.IndexedSlices(self.values, self.indices)

    def name_a_row_not_in(self, variable: Any) -> bool:
        """Whether an index is out of range, where that can be seen before the step."""
        if not tf.executing_eagerly():
            return False
        beyond = (self.indices < 0) | (self.indices >= variable.shape[0])
        return bool(tf.reduce_any(beyond))


def is_indexed_slices(gradient: Any) -> bool:
    """Whether `gradient` is sparse as TensorFlow writes it."""
    return keras.backend.backend() == "tensorflow" and isinstance(
        gradient, tf.IndexedSlices
    )


def take(variable: Any, g: Rows) -> Any:
    """The rows of `variable` that the gradient touches, without a read of the rest."""
    if isinstance(variable, keras.Variable):
        variable = variable.value
    return tf.gather(variable, g.indices)


def assignable(value: Any) -> Any:
    """`value` as `Optimizer.assign` takes it: rows as `tf.IndexedSlices`."""
    return value.to_indexed_slices() if isinstance(value, Rows) else value
