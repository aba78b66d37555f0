"""A gradient in one of two forms: `Rows` if it is sparse, else `Dense`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple, final

import keras
import numpy as np
from keras import ops

from keras_textbook_opt import backends
from keras_textbook_opt.variables import compute_dtype, dtype_of, path_of

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


class Dense(NamedTuple):
    """The dense gradient `scale·unscaled`, not multiplied out; a scale of `None` is 1.

    A kernel takes the scale as a scalar and saves a pass over the gradient.
    """

    unscaled: Any
    scale: Any = None

    @classmethod
    def of(cls, tensor: Any) -> Dense:
        return cls(tensor)

    @property
    def values(self) -> Any:
        """The gradient, multiplied out, in its compute dtype."""
        x = ops.cast(self.unscaled, compute_dtype(self.unscaled))
        if self.scale is None:
            return x
        return x * ops.convert_to_tensor(self.scale, x.dtype)

    def with_values(self, values: Any) -> Dense:
        return Dense(values)

    def __mul__(self, factor: Any) -> Dense:
        scale = factor if self.scale is None else factor * self.scale
        return Dense(self.unscaled, scale)

    def merged(self) -> Dense:
        return self

    def assignable(self) -> Any:
        return self.values


@final
class Rows:
    """A sparse gradient: `gᵢ = Σ values[k]` over all `k` with `indices[k] = i`.

    TensorFlow hands the gradient of an embedding table as `tf.IndexedSlices`, in which
    an index appears once for each lookup of its row. `indices` and `values` are merged
    when they are first read: each row once, with the sum of its repeats. So every use
    of a row is right, also one that is not linear (`g²`, `‖g‖`).

    Args:
        indices: Integers of shape `(n,)`, in any order, with repeats.
        values: Floats of shape `(n, *variable.shape[1:])`.
    """

    def __init__(self, indices: Any, values: Any):
        self._indices, self._values = indices, values

    @classmethod
    def of(cls, slices: tf.IndexedSlices) -> Rows:
        return cls(slices.indices, slices.values)

    @classmethod
    def of_distinct(cls, indices: Any, values: Any) -> Rows:
        """Rows of which each is listed once; XLA would find more in its padding."""
        rows = cls(indices, values)
        rows.__dict__["_merged"] = (indices, values)
        return rows

    @cached_property
    def _merged(self) -> tuple[Any, Any]:
        indices, position = tf.unique(self._indices)
        count = tf.size(indices)
        return indices, tf.math.unsorted_segment_sum(self._values, position, count)

    @property
    def indices(self) -> Any:
        """Each row once."""
        return self._merged[0]

    @property
    def values(self) -> Any:
        """The gradient of each of these rows."""
        return self._merged[1]

    def merged(self) -> Rows:
        """The same gradient, merged now."""
        return self.with_values(self.values)

    def with_values(self, values: Any) -> Rows:
        """Other values for the same rows."""
        return Rows.of_distinct(self.indices, values)

    def __mul__(self, factor: Any) -> Rows:
        """Linear, so that the repeats need not be merged for it."""
        factor = ops.convert_to_tensor(factor, self._values.dtype)
        if "_merged" in self.__dict__:
            return self.with_values(self.values * factor)
        return Rows(self._indices, self._values * factor)

    def take(self, place: Any) -> Any:
        """These rows of a variable or tensor."""
        if isinstance(place, keras.Variable):
            place = place.value
        return tf.gather(place, self.indices)

    def to_dense(self, shape: Any) -> Any:
        """The same gradient as one tensor of `shape`, zeros included."""
        if 0 in shape:  # TensorFlow takes no rows there
            return tf.zeros(shape, self._values.dtype)
        return tf.scatter_nd(self._indices[:, None], self._values, shape)

    def assignable(self) -> tf.IndexedSlices:
        """The same gradient as TensorFlow writes it, repeats included."""
        return tf.IndexedSlices(self._values, self._indices)


def rows_of(dense: Any) -> Rows:
    """The rows of a tensor that are not zero."""
    dense = tf.convert_to_tensor(dense)
    others = list(range(1, len(dense.shape)))
    indices = tf.where(tf.reduce_any(dense != 0, axis=others))[:, 0]
    return Rows.of_distinct(indices, tf.gather(dense, indices))


def warn_of_lazy(sparse_update: str) -> None:
    """Warn if a lazy update is the same as an exact one."""
    if sparse_update == "lazy" and not backends.active.has_rows:
        warnings.warn(
            "`sparse_update='lazy'` is the same as 'exact' here: with the "
            f"{keras.backend.backend()} backend, an embedding has a dense gradient.",
            stacklevel=4,
        )


def _is_sparse(gradient: Any) -> bool:
    return keras.backend.backend() == "tensorflow" and isinstance(
        gradient, tf.IndexedSlices
    )


def present(grads: list, variables: list) -> tuple[list, list]:
    """The gradients that are not `None`, and their variables; warn of the others.

    Raises:
        ValueError: All are `None`, or there are not as many as variables.
    """
    if len(grads) != len(variables):
        hint = "" if variables else ". Pass the variables, or call `build` first"
        raise ValueError(
            f"Expected {len(variables)} gradients, one for each variable. "
            f"Received: {len(grads)}{hint}"
        )
    missing = [path_of(v) for g, v in zip(grads, variables) if g is None]
    if not missing:
        return grads, variables
    if len(missing) == len(grads):
        raise ValueError("No gradients provided for any variable.")
    warnings.warn(
        f"Gradients do not exist for variables {missing} when minimizing the loss. If "
        "using `model.compile()`, did you forget to provide a `loss` argument?",
        stacklevel=4,
    )
    there = [k for k, g in enumerate(grads) if g is not None]
    return [grads[k] for k in there], [variables[k] for k in there]


# Checks of all that is known before the step runs.


def checked(grads: list, variables: list) -> list[Dense | Rows]:
    """Each gradient as `Dense` or `Rows`, in the compute dtype of its variable.

    Raises:
        ValueError: A gradient does not fit its variable.
    """
    if backends.active.are_alike(grads, variables):
        return [Dense(g) for g in grads]
    return [_checked(g, v) for g, v in zip(grads, variables)]


def check_variables(variables: Iterable) -> list:
    """The variables; a `ValueError` unless each has a floating-point dtype."""
    variables = list(variables)
    for variable in variables:
        if not hasattr(variable, "assign"):
            raise ValueError(
                "Expected a `keras.Variable` for each gradient: `apply(gradients, "
                "variables)` or `apply_gradients([(gradient, variable), …])`. "
                "Received: "
                f"{type(variable).__module__}.{type(variable).__name__} as a variable"
            )
        dtype = dtype_of(variable)
        is_float = keras.backend.is_float_dtype(dtype)
        if not (is_float or getattr(variable, "overwrite_with_gradient", False)):
            raise ValueError(
                "Expected variables of a floating-point dtype. Received: "
                f"{_label(variable)} of dtype {dtype}"
            )
    return variables


def check_values(values: list, variables: list) -> None:
    """Raise a `ValueError` unless each value is like its variable."""
    received, expected = (
        [(tuple(x.shape), dtype_of(x)) for x in tensors]
        for tensors in (values, variables)
    )
    if received != expected:
        raise ValueError(
            f"Expected values of the variables {[path_of(v) for v in variables]}, of "
            f"shapes and dtypes {expected}. Received: {received}. If the "
            "model has other trainable variables now, call `optimizer.set_variables("
            "model.trainable_variables)` and compile it again. An optimizer serves one "
            "model: make a new one for another model."
        )


def _checked(gradient: Any, variable: Any) -> Dense | Rows:
    if isinstance(gradient, (list, tuple, float, int)):
        gradient = _array(gradient, variable)
    if _is_sparse(gradient):
        return _checked_rows(gradient, variable)
    _check_dtype(gradient, variable)
    _check_shape("a tensor", gradient.shape, tuple(variable.shape), variable)
    dtype = compute_dtype(variable)
    tensor = ops.convert_to_tensor(gradient, dtype, sparse=False)
    return Dense(backends.active.densified(tensor))


def _checked_rows(gradient: Any, variable: Any) -> Rows:
    if not len(variable.shape):
        raise ValueError(
            f"Expected a gradient of shape () for {_label(variable)}. Received: rows "
            "(tf.IndexedSlices)"
        )
    values, indices = gradient.values, _indices(gradient.indices, variable)
    if isinstance(values, (list, tuple, float, int)):
        values = _array(values, variable)
    _check_dtype(values, variable)
    _check_shape("rows", values.shape, (None, *variable.shape[1:]), variable)
    count = (indices.shape[0], values.shape[0])
    if None not in count and count[0] != count[1]:
        raise ValueError(
            f"Expected one index for each row of the gradient of {_label(variable)}. "
            f"Received: {count[0]} indices, {count[1]} rows"
        )
    _check_range(indices, variable)
    return Rows(indices, tf.convert_to_tensor(tf.cast(values, compute_dtype(variable))))


def _array(gradient: Any, variable: Any) -> np.ndarray:
    """A list of numbers, or a number, as an array of floats."""
    try:
        array = np.asarray(gradient)
    except ValueError:  # lists of several lengths
        array = np.asarray(None)
    if array.dtype.kind not in "iuf":
        raise ValueError(
            f"Expected a gradient of numbers, of shape {tuple(variable.shape)}, for "
            f"{_label(variable)}. Received: {gradient!r}"
        )
    return array.astype("float64")


def _check_dtype(values: Any, variable: Any) -> None:
    try:
        dtype = keras.backend.standardize_dtype(values.dtype)
        fits = keras.backend.is_float_dtype(dtype)
    except (AttributeError, ValueError):
        dtype, fits = getattr(values, "dtype", type(values).__name__), False
    if not fits:
        raise ValueError(
            f"Expected a floating-point gradient for {_label(variable)}. Received: a "
            f"gradient of dtype {dtype}"
        )


def _check_shape(kind: str, shape: Any, expected: tuple, variable: Any) -> None:
    if getattr(shape, "rank", 0) is None:
        return
    fits = len(shape) == len(expected) and all(
        None in (n, m) or n == m for n, m in zip(shape, expected)
    )
    if not fits:
        raise ValueError(
            f"Expected a gradient of shape {tuple(variable.shape)} for "
            f"{_label(variable)}. Received: {kind} of shape {tuple(shape)}"
        )


def _indices(indices: Any, variable: Any) -> Any:
    """Indices as a tensor of integers in one dimension."""
    is_empty = isinstance(indices, (list, tuple)) and not indices
    tensor = tf.convert_to_tensor(indices, "int32" if is_empty else None)
    if tensor.dtype not in (tf.int32, tf.int64) or tensor.shape.rank not in (None, 1):
        raise ValueError(
            f"Expected a gradient of shape {tuple(variable.shape)} for "
            f"{_label(variable)}, and a vector of indices of dtype int32 or int64 in "
            f"it. Received: indices of shape {tensor.shape} and dtype "
            f"{tensor.dtype.name}"
        )
    return tensor


def _check_range(indices: Any, variable: Any) -> None:
    """Eager indices are checked here; those of a graph, by TensorFlow when it runs."""
    if not tf.executing_eagerly():
        return
    known, count = indices.numpy(), variable.shape[0]
    outside = known[(known < 0) | (known >= count)]
    if len(outside):
        raise ValueError(
            f"Expected row indices >= 0 and < {count} in the gradient of "
            f"{_label(variable)}. Received: {outside[0]}"
        )


def _label(variable: Any) -> str:
    return f"variable '{path_of(variable)}'"
