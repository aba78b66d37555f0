"""The backends of Keras, and how tests run a step on the backend of this process.

`KERAS_BACKEND` names it. A test that needs more than variables and operations says so:
`pytest.mark.needs("rows")`. It is not collected on a backend that lacks this.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest

from tests.reference import densify

BACKEND = keras.backend.backend()
LONG = pytest.mark.long


def _long(case: Any) -> Any:
    if hasattr(case, "marks"):  # it is a `pytest.param` already
        return pytest.param(*case.values, marks=[*case.marks, LONG], id=case.id)
    return pytest.param(case, marks=LONG)


# `pairs`: each gradient belongs to the variable beside it; Keras's JAX optimizer uses
# the position in the model's list. `dense`: the gradient of an embedding is dense.
# `float64`: Keras computes in float64 if a variable has it.
#
# The modes are the ways to run a step: each operation by itself, a `tf.function`, one
# that XLA compiles, and `jax.jit` of `stateless_apply` as in `fit`.
TABLE = {
    "tensorflow": (
        {"tensorflow", "pairs", "graphs", "rows", "replicas", "fit", "float64"},
        ["eager", "graph", "xla"],
    ),
    # Eager JAX compiles each operation for each shape.
    "jax": ({"jax", "fit", "dense", "float64"}, [_long("eager"), "jit"]),
    "torch": ({"torch", "pairs", "fit", "dense", "float64"}, ["eager"]),
    "numpy": ({"numpy", "pairs", "dense"}, ["eager"]),
}
NEEDS = set().union(*(has for has, _ in TABLE.values())) | {"gpu"}
HAS, MODES = TABLE[BACKEND]
if BACKEND == "torch":
    import torch

    HAS |= {"gpu"} if torch.cuda.is_available() else set()
# XLA compiles slowly: only the tests that use `MODES` run it in `make test`.
MODES_IN_TIME = [_long(mode) if mode == "xla" else mode for mode in MODES]
COMPILED = MODES_IN_TIME[1:] or MODES_IN_TIME


def few(cases: list, of_these: slice) -> list:
    """All cases, of which all but a few are long."""
    quick = cases[of_these]
    return [case if case in quick else _long(case) for case in cases]


def few_on_jax(cases: list, of_these: slice) -> list:
    """All cases. JAX compiles each one: there, all but a few are long."""
    return few(cases, of_these) if BACKEND == "jax" else cases


def in_modes(cases: list, of_these: slice, modes: list = MODES) -> list:
    """All cases in all modes, of which all but a few are long."""
    quick = cases[of_these]
    return [
        _pair(case, mode if case in quick else _long(mode))
        for mode in modes
        for case in cases
    ]


def _pair(*parts: Any) -> Any:
    made = [x if hasattr(x, "marks") else pytest.param(x) for x in parts]
    return pytest.param(
        *(value for x in made for value in x.values),
        marks=[mark for x in made for mark in x.marks],
        id="-".join(str(x.id or x.values[0]) for x in made),
    )


class Sparse(NamedTuple):
    """A sparse gradient: `values[k]` belongs to row `indices[k]`; repeats add up."""

    indices: np.ndarray
    values: np.ndarray


def numbers(x: Any) -> np.ndarray:
    """The values of a variable or tensor as an array that later steps do not change."""
    return np.array(keras.ops.convert_to_numpy(x))


def gradient(g: Any, shape: tuple, dtype: str) -> Any:
    """A tensor, or the backend's rows; without rows, the dense gradient."""
    if g is None:
        return None
    if not isinstance(g, Sparse):
        return keras.ops.convert_to_tensor(g, dtype)
    if "rows" not in HAS:
        wide = "float64" if dtype == "float64" else "float32"  # no sum is rounded
        return keras.ops.convert_to_tensor(densify(*g, shape), wide)
    import tensorflow as tf

    values, indices = tf.constant(g.values, dtype), tf.constant(g.indices, "int32")
    return tf.IndexedSlices(values, indices)


def step_in(mode: str, optimizer: Any, variables: list) -> Any:
    """A function of the gradients that takes one step, compiled according to `mode`."""
    if mode == "jit":
        return _jitted(optimizer, variables)

    def step(gradients: list) -> None:
        optimizer.apply(gradients, variables)

    if mode == "eager":
        return step
    import tensorflow as tf

    optimizer.build(variables)
    return tf.function(step, jit_compile=mode == "xla")


def _jitted(optimizer: Any, variables: list) -> Callable[[list], None]:
    """`stateless_apply` as one program, from old to new values."""
    import jax

    optimizer.build(variables)
    program = jax.jit(optimizer.stateless_apply)

    def step(gradients: list) -> None:
        θ, state = (
            [v.value for v in each] for each in (variables, optimizer.variables)
        )
        θ, state = program(state, gradients, θ)
        for place, value in zip([*variables, *optimizer.variables], [*θ, *state]):
            place.assign(value)

    return step


@contextlib.contextmanager
def of_dtypes(dtypes: list[str]) -> Iterator[None]:
    """Enable float64 on JAX if one of the dtypes is float64."""
    if BACKEND != "jax" or "float64" not in dtypes:
        yield
        return
    import jax

    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)
