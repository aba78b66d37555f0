"""The equations of a step, in place, one call for all variables.

A function here takes the list of the variables `θ`, that of their gradients `g` and one
for each slot. It writes into `θ` and the slots, never into a gradient, and autograd
learns of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from keras_textbook_opt.backends.torch_lists.factors import (
    Scalar,
    Scales,
    groups,
    known,
    rates,
    scaled,
    subtract,
)
from keras_textbook_opt.backends.torch_lists.parts import (
    PIECE,
    SMALL,
    Factors,
    Tensors,
    batches,
    runs,
    split,
)
from keras_textbook_opt.backends.torch_lists.tensors import is_on_a_cpu


@torch.no_grad()
def sgd(θ: Tensors, g: Tensors, scales: Scales = None, *, η: Scalar) -> None:
    """`θ ← θ − η·s·g`."""
    for s, (θ_, g_) in groups(scales, θ, g):
        subtract(θ_, rates(η, s, θ_), g_)


@torch.no_grad()
def momentum(
    θ: Tensors,
    m: Tensors,
    g: Tensors,
    scales: Scales = None,
    *,
    η: Scalar,
    β: float,
    nesterov: bool = False,
) -> None:
    """`m ← β·m − η·s·g`, then `θ ← θ + m`; with `nesterov`, `θ ← θ + β·m − η·s·g`."""
    for s, (θ_, m_, g_) in groups(scales, θ, m, g):
        f = rates(η, s, θ_)
        if not nesterov:
            _roll(θ_, m_, f, g_, β, part=1.0)
            continue
        for some, (x, m_x, g_x) in batches(f, θ_, m_, g_):
            _roll(x, m_x, some, g_x, β, part=β)
            subtract(x, some, g_x)


def _roll(
    θ: Tensors, m: Tensors, f: Factors, g: Tensors, β: float, part: float
) -> None:
    """`m ← β·m − f·g`, then `θ ← θ + part·m`."""
    fused = [_is_to_be_fused(m_k, f_k, β) for m_k, f_k in zip(m, f)]
    for by_kernel, f_, (θ_, m_, g_) in split(fused, f, θ, m, g):
        if by_kernel:
            _roll_by_kernel(θ_, m_, f_, g_, β, part)
        else:
            torch._foreach_mul_(m_, β)
            subtract(m_, f_, g_)
            torch._foreach_add_(θ_, m_, alpha=part)


def _is_to_be_fused(m: Tensor, f: Scalar, β: float) -> bool:
    """Whether the kernel computes `β·m + (1 − (1 + f))·g`, well and at a gain.

    It leaves `m` alone if `β = 0`; `1 + f` has few digits of a small `f`; and on a CPU
    it wakes all threads for each tensor.
    """
    return (
        β > 0
        and not isinstance(f, Tensor)
        and f >= 2**-28
        and m.dtype == torch.float32
        and (m.numel() > SMALL or not is_on_a_cpu(m))
    )


def _roll_by_kernel(
    θ: Tensors, m: Tensors, f: Factors, g: Tensors, β: float, part: float
) -> None:
    for f_, lists in runs(f, θ, m, g):
        θ_, m_, g_ = _of_same_strides(*lists)
        torch._fused_sgd_(
            θ_,
            g_,
            m_,
            momentum=β,
            dampening=1 + f_,
            lr=-part,
            weight_decay=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )
    increment_version([*θ, *m])


@torch.no_grad()
def adam(
    θ: Tensors,
    m: Tensors,
    v: Tensors,
    v_hat: Tensors | None,
    g: Tensors,
    scales: Scales = None,
    *,
    η_hat: Scalar,
    β_1: float,
    β_2: float,
    ε: float,
) -> None:
    """With `s·g` for `g`, the moments `m`, `v` and `v̂`, and `θ ← θ − η̂·m/(√v + ε)`."""
    slots = (m, v) if v_hat is None else (m, v, v_hat)
    for s, lists in groups(scales, g, θ, *slots):
        dtype, device = lists[0][0].dtype, lists[0][0].device
        held = [torch.tensor(β, dtype=dtype).item() for β in (β_1, β_2)]
        step = (known(η_hat, device), *held, ε)
        # The kernel's `g − β₁·(g − m)` for `β₁ < 1/2` has few digits of `β₁·m` if `m`
        # is small, and it reads a rate that is a tensor as float32.
        exact = isinstance(step[0], float) or dtype == torch.float32
        kernel = _adam_by_kernel if exact and not 0 < β_1 < 0.5 else _adam_by_formula
        if s is None and kernel is _adam_by_kernel:
            kernel(*lists, step=step)
            continue
        on_a_cpu = device.type == "cpu"
        scratch = torch.empty(PIECE["cpu"], dtype=dtype) if on_a_cpu else None
        for f, (g_, *places) in batches(rates(1.0, s, lists[0]), *lists):
            kernel(scaled(g_, f, scratch), *places, step=step)


def _adam_by_kernel(*lists: Tensors, step) -> None:
    η_hat, β_1, β_2, ε = step
    g, θ, m, v, *largest = _of_same_strides(*lists)
    v_hat = largest[0] if largest else []
    # After infinitely many steps the kernel corrects no bias; `η̂` has done it.
    last = torch.full((), math.inf, dtype=torch.float32, device=g[0].device)
    torch._fused_adam_(
        θ,
        g,
        m,
        v,
        v_hat,
        [last] * len(θ),
        lr=η_hat,
        beta1=β_1,
        beta2=β_2,
        eps=ε,
        amsgrad=bool(v_hat),
        weight_decay=0.0,
        maximize=False,
    )
    increment_version([*θ, *m, *v, *v_hat])


def _of_same_strides(*lists: Tensors) -> Sequence[Tensors]:
    """The lists as a GPU's kernels want them, which look at the strides.

    The strides of contiguous tensors may differ where a dimension is of one element or
    of none, and those of vectors do not.
    """
    if is_on_a_cpu(lists[0][0]):
        return lists
    strides = [[t.stride() for t in each] for each in lists]
    if all(each == strides[0] for each in strides):
        return lists
    return [[t.view(-1) for t in each] for each in lists]


def _adam_by_formula(g, θ, m, v, v_hat=(), *, step) -> None:
    η_hat, β_1, β_2, ε = step
    # m ← β₁·m + (1 − β₁)·g
    torch._foreach_mul_(m, β_1)
    torch._foreach_add_(m, g, alpha=1 - β_1)
    # v ← β₂·v + (1 − β₂)·g²
    torch._foreach_mul_(v, β_2)
    torch._foreach_addcmul_(v, g, g, 1 - β_2)
    if v_hat:
        # v̂ ← max(v̂, v)
        torch._foreach_maximum_(v_hat, v)
    # θ ← θ − η̂·m/(√v + ε)
    root = torch._foreach_sqrt(v_hat or v)
    torch._foreach_add_(root, ε)
    torch._foreach_addcdiv_(θ, torch._foreach_mul(m, η_hat), root, -1.0)


@torch.no_grad()
def accumulate(total: Tensors, g: Tensors, scales: Scales = None) -> None:
    """`Σg ← Σg + s·g`."""
    sgd(total, g, scales, η=-1.0)


@torch.no_grad()
def decay(θ: Tensors, *, ηλ: Scalar) -> None:
    """`θ ← θ − η·λ·θ`."""
    sgd(θ, θ, η=ηλ)


@torch.no_grad()
def average(averages: Tensors, θ: Tensors, *, μ: Scalar) -> None:
    """`average ← μ·average + (1 − μ)·θ`."""
    for _, (averages_, θ_) in groups(None, averages, θ):
        kept = known(μ, θ_[0].device)
        if isinstance(kept, Tensor):
            weight = (1 - kept).to(θ_[0].dtype)
            torch._foreach_lerp_(averages_, θ_, [weight] * len(θ_))
        elif 0 < kept < 0.5:
            # `lerp` has `θ − μ·(θ − average)` there, with few digits of a small `μ`.
            torch._foreach_mul_(averages_, kept)
            torch._foreach_add_(averages_, θ_, alpha=1 - kept)
        else:
            torch._foreach_lerp_(averages_, θ_, 1 - kept)
