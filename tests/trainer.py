"""Steps of an optimizer on plain variables, in every mode of the backend.

A trainer is made once for a recipe and a mode and started afresh for each example, so
that an example costs its steps and not a compilation.
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
            patterns = {f"^v{k}$": factor for k, factor in enumerate(factors)}
            self.optimizer = recipe.make(learning_rate_multipliers=patterns)
            if excluded:
                kept = [self.variables[k] for k in excluded]
                self.optimizer.exclude_from_weight_decay(var_list=kept)
            self.optimizer.build(self.variables)
        self._step: Any = step_in(mode, self.optimizer, self.variables)
        if BACKEND == "tensorflow" and mode != "eager":
            signature = [_signature(k in sparse, *spec) for k, spec in enumerate(specs)]
            self._step = self._step.get_concrete_function(signature)

    def run(self, values: list[np.ndarray], gradients: list[list]) -> None:
        """Start afresh with `values` and take one step for each list of gradients."""
        with of_dtypes(self.dtypes):
            for variable in self.optimizer.variables:
                if variable is not self.optimizer._learning_rate:
                    variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
            for variable, value in zip(self.variables, values):
                variable.assign(value)
        for step in gradients:
            self.step(step)

    def step(self, gradients: list) -> None:
        """Take one step from where the variables are."""
        with of_dtypes(self.dtypes):
            self._step([gradient(g, *spec) for g, spec in zip(gradients, self.specs)])


def _signature(is_sparse: bool, shape: tuple, dtype: str):
    import tensorflow as tf

    if is_sparse:
        return tf.IndexedSlicesSpec(shape, dtype, "int32")
    return tf.TensorSpec(shape, dtype)


trainer = functools.cache(Trainer)


def assert_follows(trainer: Trainer, oracle: Oracle) -> None:
    """Variables and slots are the oracle's, up to the rounding of their dtype.

    A step rounds a handful of times; what it rounds is no larger than the values so
    far and the steps between them, which are the oracle's `reach`. A norm over all
    gradients passes the rounding of the narrowest dtype on to all.
    """
    dtypes = trainer.dtypes
    for k, variable in enumerate(trainer.variables):
        rounded_with = (
            dtypes if trainer.optimizer.global_clipnorm else dtypes[k : k + 1]
        )
        unit = 100 * max(np.finfo(dtype).eps for dtype in rounded_with)
        np.testing.assert_allclose(
            numbers(variable),
            oracle.variables[k],
            rtol=unit,
            atol=unit * oracle.reach[k],
        )
        for name, expected in oracle.slots[k].items():
            slot = numbers(trainer.optimizer.get_slot(variable, name))
            atol = unit * oracle.slot_reach[k][name]
            np.testing.assert_allclose(slot, expected, rtol=unit, atol=atol)
