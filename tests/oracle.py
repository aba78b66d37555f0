"""The order of a step in float64 NumPy, on top of the equations of `reference.py`.

It shares nothing with the code under test but the names of the arguments.
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
    """The expected variables, slots and averages of `recipe`, step by step."""

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
        names += ["v_max"] if recipe.arguments.get("amsgrad") else []
        self.slots = [{n: np.zeros(θ.shape) for n in names} for θ in variables]
        self.averages = [θ.copy() for θ in self.variables]
        self.sums: list = [None] * len(variables)
        self.tables: set[int] = set()
        # The largest values that were rounded on the way: what errors are relative to.
        self.reach = [np.abs(θ).max(initial=0.0) for θ in self.variables]
        self.slot_reach = [dict.fromkeys(names, 0.0) for _ in variables]
        self.calls = self.t = 0

    def apply(self, gradients: list) -> None:
        """One micro-batch: accumulate; when it is time, update and average."""
        arguments, self.calls = self.recipe.arguments, self.calls + 1
        scale = arguments.get("loss_scale_factor", 1.0)
        gradients = [_divided(g, scale) for g in gradients]
        count = arguments.get("gradient_accumulation_steps", 1)
        if count == 1:
            self.step(gradients)
            return
        for k, g in enumerate(gradients):
            if g is not None:
                total = 0 if self.sums[k] is None else self.sums[k]
                self.sums[k] = total + _densified(g, self.variables[k])
                self.tables |= {k} if isinstance(g, Sparse) else set()
        if self.calls % count == 0:
            # Without a gradient now, a sum of zero is none.
            means = [
                None if now is None and not np.any(g) else _divided(g, count)
                for now, g in zip(gradients, self.sums)
            ]
            self.step(
                [_rows(g) if k in self.tables else g for k, g in enumerate(means)]
            )
            self.sums = [None] * len(gradients)

    def step(self, gradients: list) -> None:
        """One update. A variable whose gradient is `None` is left as it is."""
        self.t += 1
        touched = [
            np.unique(g.indices) if isinstance(g, Sparse) else ... for g in gradients
        ]
        present = [k for k, g in enumerate(gradients) if g is not None]
        clipped = self._clipped(
            [_densified(gradients[k], self.variables[k]) for k in present]
        )
        for k, g in zip(present, clipped):
            if self.factors[k]:
                self._update(k, g, touched[k] if self.recipe.lazy else ...)
        self._average()

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

    def _average(self) -> None:
        """An average starts at its variable's value after the first update."""
        μ = self.recipe.arguments.get("ema_momentum", 0.99) if self.t > 1 else 0.0
        for average, θ in zip(self.averages, self.variables):
            average += (1 - μ) * (θ - average)
        frequency = self.recipe.arguments.get("ema_overwrite_frequency")
        if frequency and self.t % frequency == 0:
            self.variables = [average.copy() for average in self.averages]


def _divided(g: Any, by: float) -> Any:
    if isinstance(g, Sparse):
        return Sparse(g.indices, np.asarray(g.values, np.float64) / by)
    return None if g is None else np.asarray(g, np.float64) / by


def _rows(g: np.ndarray | None) -> Sparse | None:
    """The rows that are not zero."""
    if g is None:
        return None
    rows = np.flatnonzero(g.reshape(len(g), -1).any(axis=1))
    return Sparse(rows, g[rows])


def _densified(g, θ: np.ndarray) -> np.ndarray:
    if isinstance(g, Sparse):
        return reference.densify(g.indices, g.values, θ.shape)
    return np.asarray(g, np.float64)


def _held(value: float, dtype) -> float:
    return float(np.asarray(value, dtype))
