"""What `apply` receives for one variable, checked and brought to one form.

Inside a step a gradient is `Rows` where it is sparse and `Scaled` where it is dense.
Both have `values`, `with_values`, and multiplication and division by a scalar.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_textbook_opt import rows
from keras_textbook_opt.rows import Rows


class Scaled(NamedTuple):
    """The dense gradient `scale·unscaled`, not multiplied out; a scale of `None` is 1.

    A kernel takes the scale as a scalar and saves a pass over the gradient.
    """

    unscaled: Any
    scale: Any = None

    @property
    def values(self) -> Any:
        return self.unscaled if self.scale is None else self.unscaled * self.scale

    def with_values(self, values: Any) -> Scaled:
        return Scaled(values)

    def __mul__(self, factor: Any) -> Scaled:
        scale = factor if self.scale is None else self.scale * factor
        return Scaled(self.unscaled, scale)

    def merged(self) -> Scaled:
        return self


def structured(gradient: Any) -> Rows | Scaled:
    """`gradient` as `Rows` where it is sparse, as `Scaled` where it is dense."""
    if isinstance(gradient, (Rows, Scaled)):
        return gradient
    if rows.is_indexed_slices(gradient):
        return Rows(gradient.indices, gradient.values)
    return Scaled(gradient)


def like(original: Any, gradient: Rows | Scaled) -> Any:
    """`gradient` in the form that `original` has."""
    if isinstance(original, (Rows, Scaled)):
        return gradient
    if rows.is_indexed_slices(original):
        return rows.assignable(gradient)
    return gradient.values


def compute_dtype(variable: Any) -> str:
    """The dtype of the arithmetic on `variable`: its own, but float32 for 16 bits."""
    dtype = keras.backend.standardize_dtype(variable.dtype)
    return "float64" if dtype == "float64" else "float32"


def check_variable(variable: Any) -> None:
    """Raise a `ValueError` unless `variable` is of a floating-point dtype."""
    dtype = keras.backend.standardize_dtype(variable.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            "Expected variables of a floating-point dtype. "
            f"Received: {_label(variable)} of dtype {dtype}"
        )


def checked(gradient: Any, variable: Any) -> Any:
    """`gradient` in the compute dtype: a tensor, or `Rows` where it is sparse.

    Raises:
        ValueError: The gradient's shape or dtype does not fit the variable.
    """
    dtype = compute_dtype(variable)
    if isinstance(gradient, (list, tuple, float, int)):
        gradient = np.asarray(gradient, dtype)
    g = structured(gradient)
    if isinstance(g, Scaled):
        _check(gradient, gradient.shape, variable.shape, variable)
        return ops.convert_to_tensor(gradient, dtype)
    _check(g.values, g.values.shape[1:], variable.shape[1:], variable)
    if g.name_a_row_not_in(variable):
        raise ValueError(
            f"Expected row indices from 0 to {variable.shape[0] - 1} in the gradient "
            f"of {_label(variable)}. Received: {g.indices}"
        )
    return g.with_values(ops.cast(g.values, dtype))


def _check(values, shape, expected_shape, variable) -> None:
    dtype = keras.backend.standardize_dtype(values.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            f"Expected a floating-point gradient for {_label(variable)}. "
            f"Received: a gradient of dtype {dtype}"
        )
    fits = len(shape) == len(expected_shape) and all(
        n is None or n == m for n, m in zip(shape, expected_shape)
    )
    if not fits:
        raise ValueError(
            f"Expected a gradient of shape {tuple(variable.shape)} for "
            f"{_label(variable)}. Received: shape {tuple(shape)}"
        )


def _label(variable) -> str:
    return f"variable '{getattr(variable, 'path', variable.name)}'"
