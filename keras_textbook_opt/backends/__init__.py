"""What each backend does in its own way: all of it, and nothing else.

`active` is the one that Keras runs on. What it can be asked is written in `plain.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_textbook_opt.backends.plain import Backend, Plain


def _of_keras() -> Backend:
    match keras.backend.backend():
        case "tensorflow":
            from keras_textbook_opt.backends.tensorflow import TensorFlow

            return TensorFlow()
        case "jax":
            from keras_textbook_opt.backends.jax import Jax

            return Jax()
        case "torch":
            from keras_textbook_opt.backends.torch import Torch

            return Torch()
        case _:
            return Plain()


active = _of_keras()


def equation(name: str) -> Callable[..., Any]:
    """Say that a backend's kernels of this name compute the decorated `apply_dense`."""

    def named(apply_dense: Callable[..., Any]) -> Callable[..., Any]:
        vars(apply_dense)["equation"] = name
        return apply_dense

    return named
