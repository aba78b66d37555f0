"""What `apply` receives, checked: variables, and for each a gradient that fits."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_textbook_opt import backends, rows
from keras_textbook_opt.gradients import Dense, structured
from keras_textbook_opt.rows import Rows
from keras_textbook_opt.variables import compute_dtype, path_of


def check_are_variables(variables: list) -> None:
    """Raise a `ValueError` unless each of `variables` is one."""
    for variable in variables:
        if not hasattr(variable, "assign"):
            raise ValueError(
                "Expected gradients first, then their variables: `apply(gradients, "
                "variables)` or `apply_gradients([(gradient, variable), …])`. "
                f"Received: {type(variable).__name__} in the place of a variable"
            )


def check_variable(variable: Any) -> None:
    """Raise a `ValueError` unless `variable` is of a floating-point dtype."""
    dtype = keras.backend.standardize_dtype(variable.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            "Expected variables of a floating-point dtype. "
            f"Received: {_label(variable)} of dtype {dtype}"
        )


def checked_all(gradients: list, variables: list, checks: list) -> list:
    """Each gradient that is there as `Dense` or `Rows`, and checked: see `checked`."""
    if backends.active.fit(gradients, variables):
        return [Dense(g) for g in gradients]
    return [
        g if g is None else checked(g, v, checks) for g, v in zip(gradients, variables)
    ]


def checked(gradient: Any, variable: Any, checks: list) -> Dense | Rows:
    """`gradient` in the compute dtype.

    What only a run of the graph can tell is added to `checks`: operations that fail
    where the gradient does not fit.

    Raises:
        ValueError: The gradient's shape or dtype does not fit the variable.
    """
    if isinstance(gradient, (list, tuple, float, int)):
        gradient = _array(gradient, variable)
    if rows.is_indexed_slices(gradient):
        gradient = structured(gradient)
    if isinstance(gradient, Rows):
        return _checked_rows(gradient, variable, checks)
    _check_dtype(gradient, variable)
    shape = tuple(variable.shape)
    _check_shape("a tensor", gradient.shape, shape, variable)
    tensor = ops.convert_to_tensor(gradient, compute_dtype(variable), sparse=False)
    tensor = backends.active.dense(tensor)
    return Dense(rows.of_shape(tensor, shape, variable.name, checks))


def _checked_rows(g: Rows, variable, checks: list) -> Rows:
    if len(variable.shape) == 0:
        raise ValueError(
            f"Expected a gradient of shape () for {_label(variable)}. "
            "Received: rows (tf.IndexedSlices)"
        )
    values = g.values
    if isinstance(values, (list, tuple, float, int)):
        values = _array(values, variable)
    _check_dtype(values, variable)
    shape = (None, *variable.shape[1:])
    _check_shape("rows", values.shape, shape, variable)
    values = ops.convert_to_tensor(values, compute_dtype(variable))
    values = rows.of_shape(values, shape, variable.name, checks)
    indices = _checked_indices(g.indices, values.shape[0], variable)
    g = Rows(rows.of_shape(indices, (None,), variable.name, checks), values)
    expected = (
        f"Expected row indices >= 0 and < {variable.shape[0]}, one for each row, in "
        f"the gradient of {_label(variable)}."
    )
    rows.check(g.fit(variable.shape[0]), expected, g.indices, checks)
    return g


def _array(gradient, variable) -> np.ndarray:
    """A list of numbers, or a number, as an array of floats."""
    try:
        array = np.asarray(gradient)
    except ValueError:  # the lists in the list are not of one length
        array = np.asarray(None)
    if array.dtype.kind not in "iuf":
        raise ValueError(
            f"Expected a gradient of numbers, of shape {tuple(variable.shape)}, for "
            f"{_label(variable)}. Received: {gradient!r}"
        )
    return array.astype("float64")


def _check_dtype(values, variable) -> None:
    try:
        dtype = keras.backend.standardize_dtype(values.dtype)
        fits = keras.backend.is_float_dtype(dtype)
    except (AttributeError, ValueError):
        dtype, fits = getattr(values, "dtype", type(values).__name__), False
    if not fits:
        raise ValueError(
            f"Expected a floating-point gradient for {_label(variable)}. "
            f"Received: a gradient of dtype {dtype}"
        )


def _check_shape(kind: str, shape, expected: tuple, variable) -> None:
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


def _checked_indices(indices, count: int | None, variable) -> Any:
    """`indices` as a tensor: one of int32 or int64 for each of the `count` rows."""
    try:
        tensor = rows.index_tensor(indices)
        dtype, shape = keras.backend.standardize_dtype(tensor.dtype), tensor.shape
    except (TypeError, ValueError):
        tensor, dtype, shape = None, type(indices).__name__, ()
    in_line = getattr(shape, "rank", 0) is None or (
        len(shape) == 1 and (None in (shape[0], count) or shape[0] == count)
    )
    if not (in_line and dtype in ("int32", "int64")):
        raise ValueError(
            "Expected indices of dtype int32 or int64, one for each of the "
            f"{'' if count is None else f'{count} '}rows in the gradient of "
            f"{_label(variable)}. Received: indices of shape {shape} and dtype "
            f"{dtype}"
        )
    return tensor


def _label(variable) -> str:
    return f"variable '{path_of(variable)}'"
