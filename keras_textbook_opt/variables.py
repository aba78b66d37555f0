"""The dtypes and paths of variables."""

from typing import Any

import keras


def dtype_of(x: Any) -> str:
    """The name of the dtype of a variable or tensor, such as `float32`."""
    return keras.backend.standardize_dtype(x.dtype)


def compute_dtype(x: Any) -> str:
    """The dtype of the arithmetic on `x`: its own, but float32 for 16 bits."""
    return "float64" if dtype_of(x) == "float64" else "float32"


def is_narrow(x: Any) -> bool:
    """Whether `x` has 16 bits, which are too few to compute in."""
    return dtype_of(x) in ("float16", "bfloat16")


def has_value(variable: Any) -> bool:
    """Whether `variable` has a value: if `fit` fails on JAX, Keras has taken it."""
    return getattr(variable, "_value", variable) is not None


def path_of(variable: Any) -> str:
    """The path of a `keras.Variable`; the name of a `tf.Variable`."""
    return variable.path if hasattr(variable, "path") else variable.name
