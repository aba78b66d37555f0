"""Steps of an optimizer on plain variables, in every mode of the backend.

A trainer is compiled once for a recipe and a mode, and starts afresh for each example.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import ml_dtypes
import numpy as np
from hypothesis import strategies as st

from tests.backends import BACKEND, Sparse, gradient, numbers, of_dtypes, step_in
from tests.oracle import Oracle
from tests.recipes import Recipe

NARROW = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
WIDE = {"float64"}


class Trainer:
    """`recipe` on variables of each `(shape, dtype)`; those in `sparse` get rows.

    Those in `excluded` do not decay, and `factors` multiply their learning rates.
    """

    def __init__(
        self,
        recipe: Recipe,
        mode: str,
        specs: tuple,
        sparse: tuple = (),
        excluded: tuple = (),
        factors: tuple = (),
    ):
        self.specs = specs
        self.dtypes = [dtype for _, dtype in specs]
        with of_dtypes(self.dtypes):
            self.variables = [
                keras.Variable(np.zeros(shape), dtype=d, name=f"v{k}")
                for k, (shape, d) in enumerate(specs)
            ]
            settings: dict[str, Any] = {}
            if excluded:
                settings["exclude_from_weight_decay"] = [f"^v{k}$" for k in excluded]
            patterns = {f"^v{k}$": factor for k, factor in enumerate(factors)}
            self.optimizer = recipe.make(learning_rate_multipliers=patterns, **settings)
            self.optimizer.build(self.variables)
        self._step: Any = step_in(mode, self.optimizer, self.variables)
        if BACKEND == "tensorflow" and mode != "eager":
            kinds = [signature(k in sparse, *spec) for k, spec in enumerate(specs)]
            self._step = self._step.get_concrete_function(kinds)

    def run(self, values: list[np.ndarray], gradients: list[list]) -> None:
        """Start afresh with `values` and take one step for each list of gradients."""
        with of_dtypes(self.dtypes):
            for variable, value in zip(self.variables, values):
                variable.assign(value)
            self.optimizer.reset_state()
        for step in gradients:
            self.step(step)

    def step(self, gradients: list) -> None:
        """Take one step from the current values."""
        with of_dtypes(self.dtypes):
            self._step([gradient(g, *spec) for g, spec in zip(gradients, self.specs)])


def signature(is_sparse: bool, shape: tuple, dtype: str):
    import tensorflow as tf

    if is_sparse:
        return tf.IndexedSlicesSpec(shape, dtype, "int32")
    return tf.TensorSpec(shape, dtype)


trainer = functools.cache(Trainer)


@st.composite
def runs(
    draw,
    specs: tuple,
    tables: tuple = (),
    counts: tuple = (0, 1, 4, 9),
    most: int = 4,
    missing: tuple = (),
):
    """Values and, for each of some steps, a gradient of every variable.

    Those of `tables` are rows: repeated, unsorted, none or all. Those of `missing` are
    `None` in some steps.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scales = st.sampled_from([0.0, 1e-6, 1e-3, 1.0, 1e3])
    steps = st.lists(st.tuples(scales, st.sampled_from(counts)), max_size=most)

    def drawn(k: int, scale: float, count: int) -> Any:
        shape, dtype = specs[k]
        if k in missing and rng.random() < 0.5:
            return None
        if k not in tables:
            g = scale * rng.normal(size=shape) * (rng.random(shape) < 0.7)
            return held(g, dtype)
        values = scale * rng.normal(size=(count, *shape[1:])) * rng.choice([0, 0.1, 1])
        return Sparse(rng.integers(0, shape[0], count), held(values, dtype))

    values = [held(rng.normal(size=shape), dtype) for shape, dtype in specs]
    return values, [
        [drawn(k, *step) for k in range(len(specs))] for step in draw(steps)
    ]


def held(x: Any, dtype: str) -> np.ndarray:
    """`x` as `dtype` holds it; one of 16 bits, in float32."""
    if dtype not in NARROW:
        return np.asarray(x, dtype)
    return np.asarray(x, "float32").astype(NARROW[dtype]).astype("float32")


def assert_steps_follow(
    recipe: Recipe, mode: str, run: tuple, specs: tuple, *more: tuple
) -> None:
    """The steps are those of the oracle; `more` are as in `Trainer`."""
    values, gradients = run
    subject = trainer(recipe, mode, specs, *more)
    oracle = Oracle(recipe, values, *more[1:])
    for step in gradients:
        oracle.apply(step)
    subject.run(values, gradients)
    assert_follows(subject, oracle)


def assert_follows(trainer: Trainer, oracle: Oracle) -> None:
    """Variables with their carries, slots and averages are the oracle's.

    A step rounds a handful of times, relative to the oracle's `reach`: to float64 for
    variables of this dtype, and to float32 for all others. A norm over all gradients
    passes the rounding of the narrowest dtype on to all.
    """
    optimizer, dtypes = trainer.optimizer, trainer.dtypes
    assert int(numbers(optimizer.iterations)) == oracle.t
    for k, variable in enumerate(trainer.variables):
        is_wide = {*(dtypes if optimizer.global_clipnorm else [dtypes[k]])} == WIDE
        unit = 100 * np.finfo("float64" if is_wide else "float32").eps
        both, state = whole(optimizer, variable), kept(optimizer, variable)
        near = {"rtol": unit, "atol": unit * oracle.reach[k]}
        np.testing.assert_allclose(both, oracle.variables[k], **near)
        rounded = numbers(variable).astype("float64")
        np.testing.assert_array_equal(rounded, held(both, dtypes[k]))
        for name, expected in oracle.slots[k].items():
            atol = unit * oracle.slot_reach[k][name]
            np.testing.assert_allclose(numbers(state[name]), expected, unit, atol)
        if "average" in state and oracle.t:
            average = numbers(state["average"])
            np.testing.assert_allclose(average, oracle.averages[k], **near)


def kept(optimizer: Any, variable: Any) -> dict[str, keras.Variable]:
    """All that `optimizer` keeps for `variable`, by kind: slots, average, carry, …"""
    found = optimizer._state_of(variable).by_kind()
    return {kind.removeprefix("slot."): v for kind, v in found.items()}


def whole(optimizer: Any, variable: Any) -> np.ndarray:
    """A variable of 16 bits plus its carry, in float64."""
    carry = kept(optimizer, variable).get("carry")
    return numbers(variable).astype("float64") + (
        0 if carry is None else numbers(carry)
    )
