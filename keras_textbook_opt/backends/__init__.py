"""Everything that differs between backends.

`active` is the backend of Keras; `plain.py` defines the interface.
"""

import keras

from keras_textbook_opt.backends.plain import Backend, Group, Update

__all__ = ["Backend", "Group", "Update", "active"]


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
            return Backend()


active = _of_keras()
