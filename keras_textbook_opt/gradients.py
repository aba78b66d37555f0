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
    def values(self):
        return self.unscaled if self.scale is None else self.unscaled * self.scale

    def with_values(self, values) -> Scaled:
        return Scaled(values)

    def __mul__(self, factor) -> Scaled:
        return Scaled(
            self.unscaled, factor if self.scale is None else self.scale * factor
        )

    def __truediv__(self, divisor) -> Scaled:
        return self * (1.0 / divisor)


def structured(gradient) -> Rows | Scaled:
    """`gradient` as `Rows` or `Scaled`."""
    if isinstance(gradient, (Rows, Scaled)):
        return gradient
    if rows.is_indexed_slices(gradient):
        return rows.merged(gradient)
    return Scaled(gradient)


def like(original, gradient: Rows | Scaled):
    """`gradient` in the form that `original` has."""
    if isinstance(original, (Rows, Scaled)):
        return gradient
    if rows.is_indexed_slices(original):
        return rows.assignable(gradient)
    return gradient.values


def compute_dtype(variable) -> str:
    """The dtype of the arithmetic on `variable`: its own, but float32 for 16 bits."""
    dtype = keras.backend.standardize_dtype(variable.dtype)
    return "float64" if dtype == "float64" else "float32"


def check_variable(variable) -> None:
    """Raise a `ValueError` unless `variable` is of a floating-point dtype."""
    dtype = keras.backend.standardize_dtype(variable.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            f"Expected variables of a floating-point dtype. Received: {_label(variable)} "
            f"of dtype {dtype}"
        )


def checked(gradient, variable):
    """`gradient` in the compute dtype: a tensor, or `Rows` where it is sparse.

    Raises:
        ValueError: The gradient's shape or dtype does not fit the variable.
    """
    dtype = compute_dtype(variable)
    if isinstance(gradient, Rows):
        return gradient
    if rows.is_indexed_slices(gradient):
        _check(gradient.values, gradient.values.shape[1:], variable.shape[1:], variable)
        if rows.out_of_range(gradient, variable.shape[0]):
            raise ValueError(
                f"Expected row indices from 0 to {variable.shape[0] - 1} in the "
                f"gradient of {_label(variable)}. Received: {gradient.indices}"
            )
        merged = rows.merged(gradient)
        return merged.with_values(ops.cast(merged.values, dtype))
    if isinstance(gradient, (list, tuple, float, int)):
        gradient = np.asarray(gradient, dtype)
    _check(gradient, gradient.shape, variable.shape, variable)
    return ops.convert_to_tensor(gradient, dtype)


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
