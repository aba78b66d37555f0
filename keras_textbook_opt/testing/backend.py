"""The features of the Keras backend in this process, and how it takes a step."""

from __future__ import annotations

import importlib
import sys
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
    "rows": "sparse gradients (tf.IndexedSlices)",
    "graph": "compiled steps",
    "xla": "TensorFlow's jit_compile",
    "replicas": "tf.distribute",
    "checkpoint": "tf.train.Checkpoint",
    "float64": "float64 variables by default",
    "stateless": "JAX's stateless_apply",
    "fit": "Model.fit",
    "freezing": "a fit that trains some of the variables that the optimizer knows",
}


def require(trait: str) -> None:
    """Skip the check if the backend lacks what it is about."""
    if trait not in TRAITS[NAME]:
        raise CheckSkipped(f"{NAME} does not have {MEANINGS[trait]}")


def tensorflow() -> Any:
    """TensorFlow; call `require` first."""
    return importlib.import_module("tensorflow")


def leave_tensorflow_out() -> None:
    """On another backend, do not let Keras import TensorFlow to save a model.

    That takes seconds and prints log lines. Call this in a process of the checker only,
    after the optimizer's module has been imported.
    """
    if NAME != "tensorflow":
        sys.modules.setdefault("tensorflow", None)  # type: ignore[arg-type]


def numbers(x: Any) -> np.ndarray:
    """A copy of the values of a variable or a tensor."""
    if hasattr(x, "value") and not callable(x.value):
        x = x.value
    x = np.array(keras.ops.convert_to_numpy(x))
    return x.astype("float32") if x.dtype.name == "bfloat16" else x


def gradient(g: Any, variable: Any) -> Any:
    """The array `g` as the gradient that the backend passes to the optimizer."""
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


def tensors(gradients: list, variables: list) -> list:
    """A gradient of the backend for each variable."""
    pairs = zip(gradients, variables, strict=True)
    return [gradient(g, variable) for g, variable in pairs]


Step = Callable[[list], None]


def eager(optimizer: Any, variables: list) -> Step:
    """Each operation by itself."""

    def step(gradients: list) -> None:
        # A new list: TensorFlow raises if a graph changes an argument.
        optimizer.apply(list(gradients), list(variables))

    return step


def compiled(optimizer: Any, variables: list) -> Step:
    """The step of `Model.fit`: a `tf.function`, or `jax.jit` of `stateless_apply`."""
    require("graph")
    if NAME == "jax":
        return _jitted(optimizer, variables)
    return _graph(optimizer, variables)


def fastest(optimizer: Any, variables: list) -> Step:
    """Compiled where that works: other checks report whether it does."""
    if "graph" not in TRAITS[NAME]:
        return eager(optimizer, variables)
    steps = [compiled(optimizer, variables), eager(optimizer, variables)]

    def step(gradients: list) -> None:
        try:
            steps[0](gradients)
        except Exception:
            if len(steps) == 1:
                raise
            del steps[0]
            steps[0](gradients)

    return step


def cheapest(optimizer: Any, variables: list) -> Step:
    """Eager, except on JAX, which compiles each operation for each shape."""
    return (fastest if NAME == "jax" else eager)(optimizer, variables)


def xla(optimizer: Any, variables: list) -> Step:
    """The same, compiled by XLA."""
    require("xla")
    return _graph(optimizer, variables, jit_compile=True)


def _graph(optimizer: Any, variables: list, **options: Any) -> Step:
    """A `tf.function`, without AutoGraph, as in `Model.fit`."""
    optimizer.build(variables)
    take = eager(optimizer, variables)

    def step(gradients: list) -> None:
        take(of_known_shapes(gradients, variables))

    return tensorflow().function(step, autograph=False, **options)


def of_known_shapes(gradients: list, variables: list) -> list:
    """In a graph, rows know the shape of their table, as those of an embedding do."""
    tf = tensorflow()
    return [
        tf.IndexedSlices(g.values, g.indices, tf.constant(tuple(v.shape)))
        if isinstance(g, tf.IndexedSlices)
        else g
        for g, v in zip(gradients, variables)
    ]


def _jitted(optimizer: Any, variables: list) -> Step:
    jax = importlib.import_module("jax")
    optimizer.build(variables)
    programs: list[Callable] = []

    def step(gradients: list) -> None:
        places = [*optimizer.variables, *variables]
        given = (
            [v.value for v in optimizer.variables],
            gradients,
            [v.value for v in variables],
        )
        if not programs:
            lowered = jax.jit(optimizer.stateless_apply).lower(*given)
            programs.append(_compiled_once(lowered))
        θ, state = programs[0](*given)
        for place, value in zip(places, [*state, *θ]):
            place.assign(value)

    return step


_PROGRAMS: dict[tuple[str, str], Callable] = {}


def _compiled_once(lowered: Any) -> Callable:
    """A program of JAX; the original and its copy, which are alike, share one."""
    key = str(lowered.in_tree), lowered.as_text()
    if key not in _PROGRAMS:
        _PROGRAMS[key] = lowered.compile()
    return _PROGRAMS[key]
