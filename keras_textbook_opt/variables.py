"""What a step asks of a variable."""

from __future__ import annotations

from typing import Any

import keras


def dtype_of(variable: Any) -> str:
    """The dtype's name, such as `float32`."""
    return keras.backend.standardize_dtype(variable.dtype)


def held_dtype(variable: keras.Variable) -> str:
    """The dtype of its value: JAX takes float64 for float32, unless it is asked."""
    return keras.backend.standardize_dtype(variable.value.dtype)


def compute_dtype(variable: Any) -> str:
    """The dtype of the arithmetic on `variable`: its own, but float32 for 16 bits."""
    return "float64" if dtype_of(variable) == "float64" else "float32"


def is_narrow(variable: Any) -> bool:
    """Whether `variable` has 16 bits, which are too few to compute in."""
    return dtype_of(variable) in ("float16", "bfloat16")


def has_value(variable: Any) -> bool:
    """Whether `variable` has a value: where `fit` fails on JAX, Keras has taken it."""
    return getattr(variable, "_value", variable) is not None


def path_of(variable: Any) -> str:
    """What a `keras.Variable` calls its path; a `tf.Variable` has its name alone."""
    return variable.path if hasattr(variable, "path") else variable.name
