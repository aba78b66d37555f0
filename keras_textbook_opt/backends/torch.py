"""PyTorch: one call for all variables of a step, in place."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, final

import keras
import numpy as np
import torch
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.backend.torch.core import get_device

from keras_textbook_opt.backends import torch_lists
from keras_textbook_opt.backends.plain import Backend
from keras_textbook_opt.backends.torch_lists import Tensors
from keras_textbook_opt.variables import compute_dtype


def _sgd(optimizer, θ, slots, g, scales, η) -> None:
    torch_lists.sgd(θ, g, scales, η=η)


def _momentum(optimizer, θ, slots, g, scales, η) -> None:
    β, nesterov = optimizer.momentum, optimizer.nesterov
    (m,) = slots
    torch_lists.momentum(θ, m, g, scales, η=η, β=β, nesterov=nesterov)


def _adam(optimizer, θ, slots, g, scales, η_hat) -> None:
    m, v, *v_hat = slots
    torch_lists.adam(
        *(θ, m, v, v_hat[0] if v_hat else None, g, scales),
        η_hat=η_hat,
        β_1=optimizer.beta_1,
        β_2=optimizer.beta_2,
        ε=optimizer.epsilon,
    )


EQUATIONS: dict[str, Callable[..., None]] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "adam": _adam,
}


@final
class HostScalar(keras.Variable):
    """A scalar that is kept beside the processor, also where all else is on a GPU.

    Whoever computes with it has its number without waiting for the GPU.
    """

    def assign(self, value):
        with keras.device("cpu"):
            return super().assign(value)

    def assign_add(self, value):
        with keras.device("cpu"):
            return super().assign_add(value)


@final
class Torch(Backend):
    """What PyTorch does in its own way."""

    scales_late = True

    def run(self, optimizer, updates, step):
        equation = EQUATIONS.get(optimizer._equation)
        one_by_one = optimizer._has_its_own_update_step or in_stateless_scope()
        if equation is None or one_by_one or not updates:
            return super().run(optimizer, updates, step)
        gradients, variables = map(list, zip(*updates))
        g, scales = _unscaled(gradients)
        beside = optimizer._all_beside(variables)
        rows = [[slot._value for slot in b.slots.values()] for b in beside]
        slots = [list(column) for column in zip(*rows)]
        θ = list(map(_tensor, variables))
        lists = _Lists(variables, beside, scales, [θ, g, *slots])
        taken = lists.are_taken()
        if not all(taken):
            rest = [u for u, is_taken in zip(updates, taken) if not is_taken]
            super().run(optimizer, rest, step)
            lists = lists.only([k for k, is_taken in enumerate(taken) if is_taken])
        λ = optimizer.weight_decay
        decays: list = [False] * len(lists.variables)
        if λ:
            decays = [optimizer._use_weight_decay(θ) for θ in lists.variables]
        factors = [beside.factor for beside in lists.beside]
        for (part_decays, factor), part in lists.by(list(zip(decays, factors))):
            η, step_size = step.scalars[compute_dtype(part.variables[0]), factor]
            for scales, (θ, g, *slots) in part.pieces():
                if part_decays:
                    torch_lists.decay(θ, ηλ=η * λ)
                equation(optimizer, θ, slots, g, scales, step_size)

    def accumulate(self, optimizer, totals, gradients):
        places = list(map(_tensor, totals))
        g, scales = _unscaled(gradients)
        g = [torch_lists.product(x, None) for x in g]
        if in_stateless_scope() or not all(torch_lists.takes(places, g)):
            return super().accumulate(optimizer, totals, gradients)
        torch_lists.accumulate(places, g, scales)

    def average(self, optimizer, pairs, rest):
        if in_stateless_scope() or not pairs:
            return super().average(optimizer, pairs, rest)
        variables, averages = map(list, zip(*pairs))
        tensors = [list(map(_tensor, each)) for each in (variables, averages)]
        lists = _Lists(variables, optimizer._all_beside(variables), None, tensors)
        if not all(lists.are_taken()):
            return super().average(optimizer, pairs, rest)
        for _, part in lists.by([None] * len(pairs)):
            for _, (θ, places) in part.pieces():
                torch_lists.average(places, θ, μ=1 - rest.double())

    def fit(self, gradients, variables):
        return torch_lists.are_alike(gradients, list(map(_tensor, variables)))

    def dense(self, x):
        return x if x.layout == torch.strided else x.to_dense()

    def norms(self, gradients):
        if torch_lists.is_traced() or not gradients:
            return None
        g, scales = _unscaled(gradients)
        norms = torch_lists.norms(g)
        if scales is not None:
            norms = norms * torch_lists.sizes(scales, norms)
        return norms.numpy() if norms.device.type == "cpu" else norms

    def total_norm(self, norms):
        if isinstance(norms, np.ndarray):
            return np.float64(math.hypot(*norms))
        return torch_lists.total_norm(norms)

    def largest(self, arrays):
        if torch_lists.is_traced():
            return super().largest(arrays)
        return torch_lists.largest(arrays)

    def clip_scales(self, norms, c, count):
        if isinstance(norms, (np.ndarray, np.generic)):
            return np.broadcast_to(c / np.maximum(norms, c), count).tolist()
        scales = torch_lists.clip_scales(norms, c)
        return list(scales) if scales.ndim else [scales] * count

    def clamped(self, gradients, c):
        g, scales = _unscaled(gradients)
        if torch_lists.is_traced() or any(map(torch_lists.is_split, g)):
            return super().clamped(gradients, c)
        g = [torch_lists.product(x, None) for x in g]
        return torch_lists.clamped(g, scales, c)

    def product(self, x, scale):
        return torch_lists.product(x, scale)

    # Scalars.

    def keep_on_the_host(self, scalar):
        if scalar._value.device.type != "cpu":
            scalar._value.data = scalar._value.data.cpu()
            scalar.__class__ = HostScalar

    def on_the_host(self):
        return nullcontext() if get_device() == "cpu" else keras.device("cpu")

    # State.

    def place(self, variable, reference):
        value = variable._value
        if torch_lists.is_split(_tensor(reference)):
            placed = self.placed(value.detach(), reference)
            variable._value = torch.nn.Parameter(placed, value.requires_grad)

    def placed(self, value, variable):
        return torch_lists.split_like(value, _tensor(variable))


@final
@dataclass
class _Lists:
    """Variables, and lists of tensors that go with them.

    Args:
        variables: As Keras has them.
        beside: What the optimizer keeps beside each.
        scales: A factor for each gradient; `None` if all are 1.
        tensors: The list of the variables' own tensors first, then the others.
    """

    variables: list
    beside: list
    scales: list | None
    tensors: list[Tensors]

    def are_taken(self) -> list[bool]:
        return torch_lists.takes(*self.tensors)

    def only(self, members: list[int]) -> _Lists:
        def some(column: list) -> list:
            return [column[k] for k in members]

        return _Lists(
            some(self.variables),
            some(self.beside),
            None if self.scales is None else some(self.scales),
            [some(column) for column in self.tensors],
        )

    def by(self, keys: list[Hashable]) -> Iterator[tuple[Any, _Lists]]:
        """Those of one key and of the same dtypes together, with the key."""
        dtypes = [[t.dtype for t in tensors] for tensors in self.tensors[:2]]
        for members in torch_lists.together(keys, *dtypes):
            all_are = len(members) == len(keys)
            yield keys[members[0]], self if all_are else self.only(members)

    def pieces(self) -> Iterator[tuple[Any, list[Tensors]]]:
        """Scales and lists, those of variables of 16 bits in float32 and in pieces."""
        if not torch_lists.is_narrow(self.tensors[0][0]):
            yield self.scales, self.tensors
            return
        θ, *others = self.tensors
        carries = None
        if self.beside[0].carry is not None:
            carries = [_tensor(beside.carry) for beside in self.beside]
        yield from torch_lists.widened(θ, carries, self.scales, *others)


def _tensor(variable: Any) -> Any:
    """The tensor under a variable, which is written in place; `None` if none is."""
    return getattr(variable, "_value", None)


def _unscaled(gradients: list) -> tuple[Tensors, list | None]:
    """The gradients and their scales; no scales where none has one."""
    g = [each.unscaled for each in gradients]
    scales = [each.scale for each in gradients]
    if all(scale is None for scale in scales):
        return g, None
    return g, [1.0 if scale is None else scale for scale in scales]
