"""Parts of a graph that XLA compiles, where each operation would go through memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_textbook_opt.backends.tensorflow_kernels import under_xla
from keras_textbook_opt.variables import is_narrow

# So many elements of a variable are worth the tenth of a second of a compilation.
LARGE = 2**20


def is_worth_one(optimizer: Any, g: Any, θ: Any) -> bool:
    """Whether the step of `θ` is quicker as one program, and XLA can compile it.

    It is where `θ` is a large variable of 16 bits on a CPU: no kernel has a carry. An
    equation of a user's own may do what XLA does not know.
    """
    return (
        is_narrow(θ)
        and θ.shape.num_elements() >= LARGE
        and "CPU" in θ.device
        and not hasattr(g, "indices")
        and optimizer._equation is not None
        and not optimizer._has_its_own_update_step
        and not tf.executing_eagerly()
        and not under_xla()
        and xla_is_here()
    )


def compiled(step: Callable[[], None]) -> None:
    """Take the step as one program."""

    @tf.function(jit_compile=True)
    def program() -> None:
        step()

    program()


@functools.cache
def xla_is_here() -> bool:
    """Whether this TensorFlow compiles for the CPU; it does not on every system."""
    with tf.init_scope(), tf.device("CPU:0"):
        try:
            tf.function(lambda: tf.zeros(()) + 1, jit_compile=True)()
        except tf.errors.OpError:
            return False
    return True
