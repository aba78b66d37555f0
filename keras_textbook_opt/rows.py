"""A sparse gradient: the indices of the rows it touches, each once, and their values.

TensorFlow hands the gradient of an embedding table as `tf.IndexedSlices`, in which an
index stands as often as its row was looked up. The gradient of that row is the sum of
the repeats, and every nonlinear use of it (`g²`, `‖g‖`, a clip) wants the sum.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


class Rows(NamedTuple):
    """`values[k]` is the gradient of row `indices[k]`; every other row's is zero.

    Args:
        indices: Integers of shape `(n,)`, no two alike, in any order.
        values: Floats of shape `(n, *variable.shape[1:])`.
    """

    indices: Any
    values: Any

    def with_values(self, values) -> Rows:
        return Rows(self.indices, values)

    def __mul__(self, factor) -> Rows:
        return self.with_values(self.values * factor)

    def __truediv__(self, divisor) -> Rows:
        return self.with_values(self.values / divisor)

    def __add__(self, dense) -> Rows:
        """This gradient on top of a dense sum of earlier ones: the rows not zero."""
        total = tf.tensor_scatter_nd_add(dense, self.indices[:, None], self.values)
        other_axes = list(range(1, len(total.shape)))
        touched = tf.where(tf.reduce_any(total != 0, axis=other_axes))[:, 0]
        return Rows(touched, tf.gather(total, touched))

    def to_dense(self, shape):
        """The same gradient as one tensor of `shape`, zeros included."""
        return tf.scatter_nd(self.indices[:, None], self.values, shape)

    def to_indexed_slices(self) -> tf.IndexedSlices:
        return tf.IndexedSlices(self.values, self.indices)


def is_indexed_slices(gradient) -> bool:
    return keras.backend.backend() == "tensorflow" and isinstance(
        gradient, tf.IndexedSlices
    )


def merged(slices: tf.IndexedSlices) -> Rows:
    """`gᵢ ← Σ values[k]` over all `k` with `indices[k] = i`."""
    indices, position = tf.unique(slices.indices)
    values = tf.math.unsorted_segment_sum(slices.values, position, tf.size(indices))
    return Rows(indices, values)


def take(variable, rows: Rows):
    """The rows of `variable` that the gradient touches, without a read of the rest."""
    if isinstance(variable, keras.Variable):
        variable = variable.value
    return tf.gather(variable, rows.indices)


def assignable(value):
    """`value` as `Optimizer.assign` takes it: rows as `tf.IndexedSlices`."""
    return value.to_indexed_slices() if isinstance(value, Rows) else value


def out_of_range(slices: tf.IndexedSlices, count: int) -> bool:
    """Whether an index names no row, where that can be seen before the step runs."""
    if not isinstance(slices.indices, tf.__internal__.EagerTensor):
        return False
    return bool(tf.reduce_any((slices.indices < 0) | (slices.indices >= count)))
