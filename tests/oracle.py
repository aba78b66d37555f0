"""The order of a step in float64 NumPy, over the equations of `reference.py`.

It knows nothing of the code under test but the names of its arguments.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_textbook_opt import SGD, Momentum
from tests import reference
from tests.backends import Sparse
from tests.recipes import Recipe

SLOTS = {"SGD": [], "Momentum": ["m"], "Adam": ["m", "v"]}


class Oracle:
    """What the variables and slots of `recipe` must be, step for step."""

    def __init__(
        self,
        recipe: Recipe,
        variables: list[np.ndarray],
        excluded: tuple = (),
        factors: tuple = (),
    ):
        self.recipe, self.excluded = recipe, excluded
        self.factors = factors or (1.0,) * len(variables)
        self.dtypes = [θ.dtype for θ in variables]
        self.variables = [θ.astype(np.float64) for θ in variables]
        names = list(SLOTS[recipe.optimizer.__name__])
        names += ["v_hat"] if recipe.arguments.get("amsgrad") else []
        self.slots = [{n: np.zeros(θ.shape) for n in names} for θ in variables]
        self.reach = [np.abs(θ).max(initial=0.0) for θ in self.variables]
        self.slot_reach = [dict.fromkeys(names, 0.0) for _ in variables]
        self.t = 0

    def step(self, gradients: list) -> None:
        self.t += 1
        touched = [
            np.unique(g.indices) if isinstance(g, Sparse) else ... for g in gradients
        ]
        dense = self._clipped(
            [_densified(g, θ) for g, θ in zip(gradients, self.variables)]
        )
        for k, (g, rows) in enumerate(zip(dense, touched)):
            if self.factors[k]:
                self._update(k, g, rows if self.recipe.lazy else ...)

    def _clipped(self, gradients: list[np.ndarray]) -> list[np.ndarray]:
        arguments = self.recipe.arguments
        if c := arguments.get("clipnorm"):
            return [reference.clip_by_norm(g, c) for g in gradients]
        if c := arguments.get("global_clipnorm"):
            return reference.clip_by_global_norm(gradients, c)
        if c := arguments.get("clipvalue"):
            return [reference.clip_by_value(g, c) for g in gradients]
        return gradients

    def _update(self, k: int, g: np.ndarray, rows: Any) -> None:
        θ, slots = self.variables[k], self.slots[k]
        before = θ.copy()
        η = _held(0.1, np.float32) * self.factors[k]
        λ = self.recipe.arguments.get("weight_decay")
        if λ and k not in self.excluded:
            θ[rows] = reference.decay(θ[rows], η=η, λ=λ)
        places = [θ, *slots.values()]
        new = self._equation(
            self.dtypes[k], η, *(place[rows] for place in places), g[rows]
        )
        for place, value in zip(places, new, strict=True):
            place[rows] = value
        self.reach[k] += np.abs(θ - before).max(initial=0.0)
        for name, slot in slots.items():
            self.slot_reach[k][name] += np.abs(slot).max(initial=0.0)

    def _equation(self, dtype, η, *arrays):
        arguments = self.recipe.arguments
        if self.recipe.optimizer is SGD:
            return (reference.sgd(*arrays, η=η),)
        if self.recipe.optimizer is Momentum:
            β, nesterov = (
                arguments.get("momentum", 0.9),
                arguments.get("nesterov", False),
            )
            return reference.momentum(*arrays, η=η, β=β, nesterov=nesterov)
        equation = reference.amsgrad if arguments.get("amsgrad") else reference.adam
        return equation(
            *arrays,
            t=self.t,
            η=η,
            β_1=_held(arguments.get("beta_1", 0.9), dtype),
            β_2=_held(arguments.get("beta_2", 0.999), dtype),
            ε=arguments.get("epsilon", 1e-8),
        )


class OracleOfKeras(Oracle):
    """The same with accumulation, a loss scale and averages, as Keras has them."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.calls = 0
        self.sums = [np.zeros(θ.shape) for θ in self.variables]
        self.averages = [np.zeros(θ.shape) for θ in self.variables]

    def apply(self, gradients: list) -> None:
        """Accumulate; update with the mean when it is time; then average."""
        arguments = self.recipe.arguments
        count = arguments["gradient_accumulation_steps"]
        updates, self.calls = self.calls // count, self.calls + 1
        for total, g in zip(self.sums, gradients):
            total += np.asarray(g, np.float64) / arguments["loss_scale_factor"]
        if self.calls % count == 0:
            self.step([total / count for total in self.sums])
            self.sums = [np.zeros(total.shape) for total in self.sums]
        μ = arguments["ema_momentum"] if updates else 0.0
        for average, θ in zip(self.averages, self.variables):
            average += (1 - μ) * (θ - average)
        if (updates + 1) % arguments["ema_overwrite_frequency"] == 0:
            self.variables = [average.copy() for average in self.averages]


def _densified(g, θ: np.ndarray) -> np.ndarray:
    if isinstance(g, Sparse):
        return reference.densify(g.indices, g.values, θ.shape)
    return np.asarray(g, np.float64)


def _held(value: float, dtype) -> float:
    return float(np.asarray(value, dtype))
