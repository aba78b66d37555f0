"""A sparse gradient: the indices of the rows that it touches, and their values.

TensorFlow hands the gradient of an embedding table as `tf.IndexedSlices`, in which an
index stands as often as its row was looked up. The gradient of that row is the sum of
the repeats. Whatever is linear may be done to the repeats; every nonlinear use of a row
(`g²`, `‖g‖`, a clip) wants them `merged`.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
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

    @classmethod
    def of(cls, slices: tf.IndexedSlices) -> Rows:
        return cls(slices.indices, slices.values)

    @classmethod
    def mean(cls, total: Any, count: int) -> Rows:
        """`Σg/count`, of a dense `Σg`: its rows that are not zero."""
        total = tf.convert_to_tensor(total)
        other_axes = list(range(1, len(total.shape)))
        touched = tf.where(tf.reduce_any(total != 0, axis=other_axes))[:, 0]
        return cls(touched, tf.gather(total, touched) / count, unique=True)

    def merged(self) -> Rows:
        """The same gradient with each row once."""
        if self.unique:
            return self
        indices, position = tf.unique(self.indices)
        values = tf.math.unsorted_segment_sum(self.values, position, tf.size(indices))
        return Rows(indices, values, unique=True)

    def to_dense(self, shape: Any) -> Any:
        """The same gradient as one tensor of `shape`, zeros included."""
        if 0 in shape:  # Where nothing is, TensorFlow takes no rows.
            return tf.zeros(shape, self.values.dtype)
        return tf.scatter_nd(self.indices[:, None], self.values, shape)

    def assignable(self) -> tf.IndexedSlices:
        """The same gradient as TensorFlow writes it."""
        return tf.IndexedSlices(self.values, self.indices)

    def fit(self, count: int) -> Any:
        """Whether each row has an index, and each index is of one of `count` rows."""
        fit = tf.reduce_all((self.indices >= 0) & (self.indices < count))
        if None in (self.indices.shape[0], self.values.shape[0]):
            fit &= tf.equal(tf.size(self.indices), tf.shape(self.values)[0])
        return fit


def linear(apply_sparse: Any) -> Any:
    """Say that the decorated hook adds up repeats itself, and may be given them."""
    apply_sparse.takes_repeats = True
    return apply_sparse


def are_merged_for(optimizer: Any) -> bool:
    """Whether the optimizer's hooks are to get each row once."""
    if optimizer.sparse_update == "lazy":
        return True
    return not getattr(type(optimizer).apply_sparse, "takes_repeats", False)


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
    return value.assignable() if isinstance(value, Rows) else value


def index_tensor(indices: Any) -> Any:
    """`indices` as a tensor; an empty list holds no index, and so no float."""
    if isinstance(indices, (list, tuple)) and not indices:
        return tf.zeros(0, "int32")
    return tf.convert_to_tensor(indices)


def of_shape(tensor: Any, shape: tuple, name: str, checks: list) -> Any:
    """`tensor` as one of `shape`, which it fits as far as its own shape is known.

    The rest is checked when the graph runs, and that check is added to `checks`.
    """
    known = getattr(tensor.shape, "rank", len(shape)) is not None and not any(
        n is None and m is not None for n, m in zip(tensor.shape, shape)
    )
    if known:
        return tensor
    tensor = tf.ensure_shape(
        tensor, shape, re.sub(r"\W", "_", f"gradient_of_{name}", flags=re.ASCII)
    )
    checks.append(tensor)
    return tensor


def check(fits: Any, expected: str, received: Any, checks: list) -> None:
    """Raise a `ValueError` unless `fits`; in a graph, add that check to `checks`."""
    if not tf.executing_eagerly():
        checks.append(tf.debugging.Assert(fits, [expected, "Received:", received]))
    elif not fits:
        raise ValueError(f"{expected} Received: {received}")


def after(checks: list) -> AbstractContextManager[Any]:
    """Where a graph does nothing before the `checks` in it have passed.

    Replicas do not wait: their rows were then seen to be rounded differently on one and
    on the other, and replicas must hold the same variables to the bit.
    """
    if not checks or tf.distribute.get_strategy().num_replicas_in_sync > 1:
        return nullcontext()
    return tf.control_dependencies([tf.group(*checks)])
