"""PyTorch: one call for all variables of a step, in place."""

import math
from contextlib import nullcontext
from typing import Any, final

import keras
import torch
from torch import Tensor
from torch.nn import Parameter

from keras_textbook_opt.backends import torch_lists as lists
from keras_textbook_opt.backends.plain import Backend, Group, name_of

HAS_GPU = torch.accelerator.is_available()
# PyTorch's own classes: a tensor of another class may be split over processes.
PLAIN = {Tensor, Parameter}


@final
class Torch(Backend):
    """The operations of PyTorch."""

    def run(self, equation, hyperparameters, group, fallback):
        kernel = lists.KERNELS.get(name_of(equation))
        # Within a `keras.StatelessScope`, no variable may change.
        is_pure = self.is_traced() or _is_stateless(group.states[0].variable)
        if kernel is None or is_pure or not _run(kernel, hyperparameters, group):
            super().run(equation, hyperparameters, group, fallback)

    def add_to(self, totals, gradients):
        places, (g, s) = _tensors(totals), _unscaled(gradients)
        fits = totals and PLAIN.issuperset(map(type, [*places, *g]))
        if not fits or _is_stateless(totals[0]):
            return super().add_to(totals, gradients)
        with torch.no_grad():
            lists.add(places, s, g)

    def average(self, states, rest):
        θ = _tensors([state.variable for state in states])
        averages = _tensors([state.average for state in states])
        fits = {(type(t), t.dtype) for t in θ} == {(Parameter, torch.float32)}
        if not fits or _is_stateless(states[0].average):
            return super().average(states, rest)
        with torch.no_grad():
            lists.average(averages, 1 - float(rest), θ)

    def assign_add(self, place, value):
        if _is_stateless(place):
            return super().assign_add(place, value)
        with torch.no_grad():
            place._value.add_(value)

    # Gradients.

    def are_alike(self, gradients, variables):
        θ = _tensors(variables)
        return (
            set(map(type, gradients)) == {Tensor}
            and all(map(Tensor.is_same_size, gradients, θ))
            and [g.dtype for g in gradients] == [t.dtype for t in θ]
            and {g.layout for g in gradients} == {torch.strided}
            and not (HAS_GPU and [g.device for g in gradients] != [t.device for t in θ])
        )

    def densified(self, x):
        return x if x.layout == torch.strided else x.to_dense()

    def squares(self, gradients):
        g, s = _unscaled(gradients)
        has_float64 = all(t.device.type in lists.PIECE for t in g)
        if not g or not has_float64 or self.is_traced():
            return super().squares(gradients)
        return [x if f == 1 else x * f * f for x, f in zip(lists.squares(g), s)]

    def total(self, squares):
        return sum(squares, 0.0)

    def clip_scales(self, squares, c):
        if all([isinstance(x, float) for x in squares]):
            return [c / math.sqrt(max(x, c * c)) for x in squares]
        norms = torch.stack(squares).clamp(min=c * c).sqrt()
        return list((c / norms).unbind())

    # State.

    def on_the_host(self):
        return keras.device("cpu") if HAS_GPU else nullcontext()

    def is_traced(self):
        is_transformed = torch._C._functorch.peek_interpreter_stack() is not None
        return is_transformed or torch.compiler.is_compiling()


def _run(kernel: Any, settings: Any, group: Group) -> bool:
    """Update the variables of a group in one call; `False` if lists do not fit."""
    states, decay, η_t = group.states, group.decay, float(group.step_size)
    θ, (g, s) = _tensors([x.variable for x in states]), _unscaled(group.grads)
    slots = [_tensors([x.slots[name] for x in states]) for name in states[0].slots]
    # On a CPU, shared memory matters only where a variable is written twice.
    is_simple = θ[0].is_cpu and decay is None and not settings.get("nesterov")
    fit = PLAIN.issuperset(map(type, [*θ, *g])) and θ[0].device.type in lists.PIECE
    if not fit or (not is_simple and lists.share_memory(θ, g)):
        return False
    parts = [(θ, g, s, slots)]
    if states[0].is_narrow:
        carries = _tensors([x.carry for x in states if x.carry is not None])
        parts = lists.in_float32(θ, carries, g, s, slots)
    with torch.no_grad():
        for θ_, *others in parts:
            if decay is not None:
                # θ ← θ − η·λ·θ
                lists.add(θ_, [-float(decay)] * len(θ_), θ_)
            for fused, part in lists.by_size(θ_, *others):
                kernel(*part, η_t, settings, fused)
    return True


def _tensors(variables: list) -> list:
    """The tensors of variables, which are written in place.

    The public `value` looks for Keras's scopes, and takes as long as a small update.
    """
    return [variable._value for variable in variables]


def _unscaled(gradients: list) -> tuple[list, list]:
    """The gradients without their scales, and the scales."""
    s = [1.0 if g.scale is None else g.scale for g in gradients]
    return [g.unscaled for g in gradients], s


def _is_stateless(variable: Any) -> bool:
    """Whether the variable has another value in a `keras.StatelessScope`."""
    return variable.value is not variable._value
