"""Steps of an optimizer on plain variables: eagerly, in a graph, compiled by XLA.

A trainer is made once for a recipe and a mode and started afresh for each example, so
that an example costs its steps and not a compilation.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.oracle import Oracle, Sparse
from tests.recipes import Recipe


class Trainer:
    """`recipe` on variables of each `(shape, dtype)`; those in `sparse` get rows."""

    def __init__(self, recipe: Recipe, mode: str, specs: tuple, sparse: tuple = ()):
        self.specs = specs
        self.variables = [
            keras.Variable(np.zeros(shape), dtype=d) for shape, d in specs
        ]
        self.optimizer = recipe.make()
        self.optimizer.build(self.variables)
        self._sparse = sparse
        self._step: Any = self._apply
        if mode != "eager":
            signature = [self._signature(k, *spec) for k, spec in enumerate(specs)]
            self._step = tf.function(
                self._apply, input_signature=[signature], jit_compile=mode == "xla"
            )

    def _signature(self, k: int, shape: tuple, dtype: str):
        if k not in self._sparse:
            return tf.TensorSpec(shape, dtype)
        return (
            tf.TensorSpec([None], "int32"),
            tf.TensorSpec([None, *shape[1:]], dtype),
        )

    def _apply(self, gradients) -> None:
        slices = [
            tf.IndexedSlices(g[1], g[0], tuple(v.shape)) if k in self._sparse else g
            for k, (g, v) in enumerate(zip(gradients, self.variables))
        ]
        self.optimizer.apply(slices, self.variables)

    def run(self, values: list[np.ndarray], gradients: list[list]) -> None:
        """Start afresh with `values` and take one step for each list of gradients."""
        for variable in self.optimizer.variables:
            if variable is not self.optimizer._learning_rate:
                variable.assign(np.zeros(variable.shape, variable.dtype))
        for variable, value in zip(self.variables, values):
            variable.assign(value)
        for step in gradients:
            self.step(step)

    def step(self, gradients: list) -> None:
        """Take one step from where the variables are."""
        self._step([self._tensors(g, d) for g, (_, d) in zip(gradients, self.specs)])

    def _tensors(self, g, dtype: str):
        if isinstance(g, Sparse):
            return (tf.constant(g.indices, "int32"), tf.constant(g.values, dtype))
        return tf.constant(g, dtype)


@functools.cache
def trainer(recipe: Recipe, mode: str, specs: tuple, sparse: tuple = ()) -> Trainer:
    return Trainer(recipe, mode, specs, sparse)


def assert_follows(trainer: Trainer, oracle: Oracle) -> None:
    """Variables and slots are the oracle's, up to the rounding of their dtype.

    A step rounds a handful of times; what it rounds is no larger than the values so
    far and the steps between them, which are the oracle's `reach`. A norm over all
    gradients passes the rounding of the narrowest dtype on to all.
    """
    dtypes = [variable.dtype for variable in trainer.variables]
    for k, variable in enumerate(trainer.variables):
        rounded_with = (
            dtypes if trainer.optimizer.global_clipnorm else dtypes[k : k + 1]
        )
        unit = 100 * max(np.finfo(dtype).eps for dtype in rounded_with)
        np.testing.assert_allclose(
            variable.numpy(),
            oracle.variables[k],
            rtol=unit,
            atol=unit * oracle.reach[k],
        )
        for name, expected in oracle.slots[k].items():
            slot = trainer.optimizer.get_slot(variable, name).numpy()
            atol = unit * oracle.slot_reach[k][name]
            np.testing.assert_allclose(slot, expected, rtol=unit, atol=atol)
