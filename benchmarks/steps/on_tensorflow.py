"""A step on TensorFlow, as a graph and compiled by XLA."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from benchmarks.steps.pairs import Contender, values_of

MODES = ("", "XLA")
PEER = ""

tf.get_logger().setLevel("ERROR")


def wait(variables: Sequence[Any] = ()) -> None:
    """Wait until the device has no work left."""
    tf.test.experimental.sync_devices()


def contender(
    optimizer: Any, variables: Sequence[Any], g: Sequence[Any], mode: str = ""
) -> Contender:
    """Return the step of an optimizer of Keras that is built on the variables."""
    step = compiled(lambda *g: optimizer.apply(list(g), variables), mode)
    state = partial(free, [*variables, *optimizer.variables])
    return Contender(partial(step, *g), partial(values_of, variables), state)


def compiled(update: Callable[..., object], mode: str = "") -> Callable[..., None]:
    """Return a function that takes the update in a graph and waits for its result."""
    function = tf.function(lambda *g: update(*g), jit_compile=mode == "XLA")

    def step(*g: Any) -> None:
        function(*g)
        wait()

    return step


def free(variables: Iterable[Any]) -> None:
    """Empty the variables: TensorFlow keeps some beyond the last reference to them."""
    for variable in variables:
        empty = {"value": tf.zeros(0, variable.dtype), "validate_shape": False}
        tf.raw_ops.AssignVariableOp(resource=variable.value.handle, **empty)
