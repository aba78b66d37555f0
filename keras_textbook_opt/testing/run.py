"""An optimizer with its variables, and the steps that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import keras
import numpy as np

from keras_textbook_opt.testing import backend, problem


@final
class Run:
    """Variables that start at `values`, and the optimizer that updates them.

    Args:
        optimizer: The optimizer under test.
        values: Arrays, one for each of the variables.
        dtype: The dtype of the variables and gradients.
        mode: A function of `backend`: `eager`, `compiled`, `fastest` or `xla`.
        names: The names of the variables.
    """

    def __init__(
        self,
        optimizer: Any,
        values: list[np.ndarray] | None = None,
        dtype: str = "float32",
        mode: Callable = backend.eager,
        names: list[str] | None = None,
    ):
        values = problem.values() if values is None else values
        names = names or [*problem.NAMES, *(f"extra_{k}" for k in range(len(values)))]
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
        self._step(self.tensors(gradients))

    def tensors(self, gradients: list) -> list:
        """These arrays as the backend passes them to the optimizer."""
        return backend.tensors(gradients, self.variables)

    def follow(self, steps: list[list]) -> Run:
        """Take a step for each list of gradients."""
        for gradients in steps:
            self.step(gradients)
        return self

    def build(self) -> Run:
        """Create the state, as `Model.fit` does before the first step."""
        self.optimizer.build(self.variables)
        return self

    def assign(self, values: list[np.ndarray]) -> None:
        """Assign values to the variables."""
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)

    @property
    def numbers(self) -> list[np.ndarray]:
        """The values of the variables."""
        return [backend.numbers(variable) for variable in self.variables]

    @property
    def state(self) -> list[np.ndarray]:
        """The values of the optimizer's own variables."""
        return [backend.numbers(variable) for variable in self.optimizer.variables]
