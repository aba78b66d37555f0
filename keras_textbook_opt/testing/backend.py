"""What Keras's backend of this process has, and how a step is taken on it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_textbook_opt.testing.problem import Rows
from keras_textbook_opt.testing.verdicts import CheckSkipped

NAME = keras.backend.backend()
TRAITS = {
    "tensorflow": {
        "rows",
        "graph",
        "xla",
        "replicas",
        "checkpoint",
        "float64",
        "fit",
        "freezing",
    },
    "jax": {"graph", "stateless", "fit"},
    "torch": {"float64", "fit", "freezing"},
    "numpy": {"float64"},
}
MEANINGS = {
    "rows": "a backend that hands rows to an optimizer",
    "graph": "a backend that compiles a step",
    "xla": "XLA below TensorFlow",
    "replicas": "`tf.distribute`",
    "checkpoint": "`tf.train.Checkpoint`",
    "float64": "a backend that has float64 as it comes",
    "stateless": "`stateless_apply`",
    "fit": "`Model.fit`",
    "freezing": "a `fit` that may train a part of what the optimizer was built with",
}


def want(trait: str) -> None:
    """Skip the check where the backend lacks what it is about."""
    if trait not in TRAITS[NAME]:
        raise CheckSkipped(f"waits for {MEANINGS[trait]}; this is {NAME}")


def tensorflow() -> Any:
    """TensorFlow, which a check that has called `want` may use."""
    return importlib.import_module("tensorflow")


def numbers(x: Any) -> np.ndarray:
    """The values of a variable or a tensor; no later step changes them."""
    if hasattr(x, "value") and not callable(x.value):
        x = x.value
    x = np.array(keras.ops.convert_to_numpy(x))
    return x.astype("float32") if x.dtype.name == "bfloat16" else x


def gradient(g: Any, variable: Any) -> Any:
    """What the backend would hand to the optimizer for the array `g`."""
    if g is None:
        return None
    dtype = keras.backend.standardize_dtype(variable.dtype)
    if isinstance(g, Rows):
        tf = tensorflow()
        return tf.IndexedSlices(
            tf.cast(g.values, dtype),
            tf.constant(g.indices),
            tf.constant(tuple(variable.shape), "int32"),
        )
    return keras.ops.convert_to_tensor(np.asarray(g), dtype)


Step = Callable[[list], None]


def eager(optimizer: Any, variables: list) -> Step:
    """Each operation by itself."""

    def step(gradients: list) -> None:
        # A list of its own: TensorFlow lets no graph change what is passed in.
        optimizer.apply(list(gradients), list(variables))

    return step


def compiled(optimizer: Any, variables: list) -> Step:
    """What `Model.fit` runs: a `tf.function`, or `jax.jit` of `stateless_apply`."""
    want("graph")
    if NAME == "jax":
        return _jitted(optimizer, variables)
    optimizer.build(variables)
    return tensorflow().function(_of_known_shapes(optimizer, variables))


def xla(optimizer: Any, variables: list) -> Step:
    """The same, compiled by XLA."""
    want("xla")
    optimizer.build(variables)
    step = _of_known_shapes(optimizer, variables)
    return tensorflow().function(step, jit_compile=True)


def _of_known_shapes(optimizer: Any, variables: list) -> Step:
    """In a graph, rows know the shape of their table, as those of an embedding do."""
    tf = tensorflow()
    take = eager(optimizer, variables)

    def step(gradients: list) -> None:
        take(
            [
                tf.IndexedSlices(g.values, g.indices, tf.constant(tuple(v.shape)))
                if isinstance(g, tf.IndexedSlices)
                else g
                for g, v in zip(gradients, variables)
            ]
        )

    return step


def _jitted(optimizer: Any, variables: list) -> Step:
    jax = importlib.import_module("jax")
    optimizer.build(variables)
    program = jax.jit(optimizer.stateless_apply)

    def step(gradients: list) -> None:
        places = [*optimizer.variables, *variables]
        state, θ = program(
            [v.value for v in optimizer.variables],
            gradients,
            [v.value for v in variables],
        )[::-1]
        for place, value in zip(places, [*state, *θ]):
            place.assign(value)

    return step
