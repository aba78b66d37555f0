"""An optimizer beside variables of its own, and the steps that it takes there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import keras
import numpy as np

from keras_textbook_opt.testing import backend, problem


@final
class Run:
    """Variables that start at `values`, stepped by `optimizer` as `mode` says.

    Args:
        optimizer: What is checked.
        values: Arrays, one for each of the variables.
        dtype: Of the variables, and of their gradients.
        mode: `backend.eager`, `backend.compiled` or `backend.xla`.
    """

    def __init__(
        self,
        optimizer: Any,
        values: list[np.ndarray] | None = None,
        dtype: str = "float32",
        mode: Callable = backend.eager,
    ):
        values = problem.values() if values is None else values
        names = [*problem.NAMES, *(f"extra_{k}" for k in range(len(values)))]
        self.start = [np.array(value) for value in values]
        self.variables = [
            keras.Variable(value, dtype=dtype, name=name)
            for value, name in zip(values, names)
        ]
        self.optimizer = optimizer
        self._mode = mode
        self._step: Any = None

    def step(self, gradients: list) -> None:
        """Take one step with these arrays, one for each variable."""
        if self._step is None:
            self._step = self._mode(self.optimizer, self.variables)
        pairs = zip(gradients, self.variables, strict=True)
        self._step([backend.gradient(g, variable) for g, variable in pairs])

    def follow(self, steps: list[list]) -> Run:
        """Take a step for each list of gradients."""
        for gradients in steps:
            self.step(gradients)
        return self

    def build(self) -> Run:
        """Make the state, as `Model.fit` does before the first step."""
        self.optimizer.build(self.variables)
        return self

    def assign(self, values: list[np.ndarray]) -> None:
        """Put the variables elsewhere, by hand."""
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)

    @property
    def numbers(self) -> list[np.ndarray]:
        """Where the variables are now."""
        return [backend.numbers(variable) for variable in self.variables]

    @property
    def state(self) -> list[np.ndarray]:
        """What the optimizer's own variables hold now."""
        return [backend.numbers(variable) for variable in self.optimizer.variables]
