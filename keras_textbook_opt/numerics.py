"""Arithmetic in which the plain formula would lose digits."""

import math

import keras
import numpy as np
from keras import ops


def maximum(x, y):
    """`max(x, y)` in the dtype of `x`: on PyTorch, Keras's is of float32."""
    y = ops.convert_to_tensor(y, x.dtype)
    return ops.where(y <= x, x, y)


def one_minus_power(β: float, t):
    """`1 − βᵗ` to the last digit; the plain difference loses digits when `t` is small.

    `β` is rounded to the dtype of `t` first, as it is in the moments.
    """
    β = float(np.asarray(β, keras.backend.standardize_dtype(t.dtype)))
    return -ops.expm1(t * math.log(β)) if β > 0 else ops.ones_like(t)
