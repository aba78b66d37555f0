"""A step on TensorFlow, as a graph and compiled by XLA."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.steps.bandwidth import LARGE
from benchmarks.steps.contender import Contender
from benchmarks.timing import Step

XLA = "jit_compile"
MODES = ("", XLA)
# Its own first: an accelerator has no room for others.
PEERS = ("tf_keras", "torch", "optax")

tf.get_logger().setLevel("ERROR")


def device() -> str:
    """Return the name of the device that steps run on."""
    found = tf.config.get_visible_devices("GPU")
    if not found:
        return "cpu"
    return tf.config.experimental.get_device_details(found[0])["device_name"]


def wait(variables: Sequence[Any] = ()) -> None:
    """Wait for all that the device has to do."""
    tf.test.experimental.sync_devices()


def contender(
    optimizer: Any, variables: Sequence[Any], g: Sequence[Any], mode: str = ""
) -> Contender:
    """Return the step of an optimizer of Keras that is built on the variables."""
    step = compiled(lambda g: optimizer.apply(g, variables), g, mode)
    empty_with(step, [*variables, *optimizer.variables])
    return Contender(step, partial(values_of, variables))


def compiled(update: Callable[[Any], object], g: Any, mode: str = "") -> Step:
    """Return a call of the update that waits for its result."""

    @tf.function(jit_compile=mode == XLA)
    def function(g: Any) -> None:
        update(g)

    def step() -> None:
        function(g)
        wait()

    return step


def first_steps(
    optimizer: Any, variables: Sequence[Any], g: Sequence[Any]
) -> dict[str, Step]:
    """Return what happens from a built optimizer to its first step, by name."""
    function = tf.function(lambda g: optimizer.apply(g, variables))
    made: list[Any] = []

    def run() -> None:
        made[0](g)
        wait()

    return {
        "trace": lambda: made.append(function.get_concrete_function(g)),
        "first run": run,
    }


def tensors(arrays: Sequence[np.ndarray], dtype: str) -> list[Any]:
    return [tf.cast(array, dtype) for array in arrays]


def values_of(variables: Sequence[Any]) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(v).astype(np.float32) for v in variables]


def loops(elements: int) -> Iterator[tuple[Step, float]]:
    """Return what moves an accelerator's memory, and so many arrays."""
    a, b = tf.Variable(tf.ones(LARGE)), tf.ones(LARGE)
    yield compiled(a.assign_add, b), 3 * LARGE / elements


def empty_with(step: Step, variables: Iterable[Any]) -> None:
    """Give back the variables' memory when the step is no longer in use.

    TensorFlow keeps a variable of Keras's optimizers beyond the last reference to it.
    """
    handles = [(variable.value.handle, variable.dtype) for variable in variables]
    weakref.finalize(step, _empty, handles)


def _empty(handles: Iterable[tuple[Any, str]]) -> None:
    for handle, dtype in handles:
        tf.raw_ops.AssignVariableOp(
            resource=handle, value=tf.zeros(0, dtype), validate_shape=False
        )
