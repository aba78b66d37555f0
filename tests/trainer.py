"""Steps of an optimizer on plain variables, in every mode of the backend.

A trainer is compiled once for a recipe and a mode, and starts afresh for each example.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np

from tests.backends import BACKEND, gradient, numbers, of_dtypes, step_in
from tests.oracle import Oracle
from tests.recipes import Recipe


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
            signature = [_signature(k in sparse, *spec) for k, spec in enumerate(specs)]
            self._step = self._step.get_concrete_function(signature)

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

    def slot(self, k: int, name: str) -> np.ndarray:
        return numbers(self.optimizer.get_slot(self.variables[k], name))


def _signature(is_sparse: bool, shape: tuple, dtype: str):
    import tensorflow as tf

    if is_sparse:
        return tf.IndexedSlicesSpec(shape, dtype, "int32")
    return tf.TensorSpec(shape, dtype)


trainer = functools.cache(Trainer)


def assert_follows(trainer: Trainer, oracle: Oracle) -> None:
    """Variables and slots are the oracle's, up to the rounding of their dtype.

    A step rounds a handful of times, relative to the oracle's `reach`. A norm over all
    gradients passes the rounding of the narrowest dtype on to all.
    """
    dtypes = trainer.dtypes
    for k, variable in enumerate(trainer.variables):
        rounded_with = (
            dtypes if trainer.optimizer.global_clipnorm else dtypes[k : k + 1]
        )
        unit = 100 * max(np.finfo(dtype).eps for dtype in rounded_with)
        near = {"rtol": unit, "atol": unit * oracle.reach[k]}
        np.testing.assert_allclose(numbers(variable), oracle.variables[k], **near)
        for name, expected in oracle.slots[k].items():
            atol = unit * oracle.slot_reach[k][name]
            np.testing.assert_allclose(trainer.slot(k, name), expected, unit, atol)


def kept(optimizer: Any, variable: Any) -> dict[str, keras.Variable]:
    """All that `optimizer` keeps for `variable`, by kind: slots, average, carry, …"""
    found = optimizer._state_of(variable).kept()
    return {kind.removeprefix("slot."): v for kind, v in found.items()}


def whole(optimizer: Any, variable: Any) -> np.ndarray:
    """A variable of 16 bits plus its carry, in float64."""
    carry = kept(optimizer, variable).get("carry")
    return numbers(variable).astype("float64") + (
        0 if carry is None else numbers(carry)
    )
