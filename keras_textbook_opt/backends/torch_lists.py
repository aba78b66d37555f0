"""The equations on lists of PyTorch tensors, in place.

`_foreach_*` updates small tensors in one call, and falls back to a loop by itself where
they differ in dtype, device or layout. Fused kernels read and write large ones once. A
gradient is `s·g`, with its own factor `s`: a float, or on a GPU also a tensor, which is
never read here.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version
from torch.linalg import vector_norm

# From this size on, a fused kernel is faster, although it starts all threads.
LARGE = 2**15
# The number of elements to copy at a time. On a CPU, the copy stays in its cache.
PIECE = {"cpu": 2**18, "cuda": 2**25}
# The number of squares to sum in float32, with an error below 1e-6, before float64.
ROW = 1024
OFF: dict[str, Any] = {"weight_decay": 0.0, "maximize": False}
SGD_OFF = OFF | {"nesterov": False, "is_first_step": False}


# The equations. `fused` says whether a fused kernel takes these tensors.


def sgd(θ, g, s, slots, η, settings, fused) -> None:
    """`θ ← θ − η·s·g`."""
    add(θ, times(-η, s), g)


def momentum(θ, g, s, slots, η, settings, fused) -> None:
    """`m ← β·m − η·s·g`, then `θ ← θ + m` or `θ ← θ + β·m − η·s·g`."""
    β, (m,) = settings["momentum"], slots
    part = β if settings["nesterov"] else 1.0
    f = times(-η, s)
    # The kernel takes 0.6 of the time. It receives 1 − f, which loses a tiny f.
    if fused and β and all(isinstance(x, float) and x <= -(2**-28) for x in f):
        one_by_one = (([x], [y], [z], f_) for x, y, z, f_ in zip(θ, g, m, f))
        for *row, f_ in one_by_one if shared(f) is None else [(θ, g, m, f[0])]:
            torch._fused_sgd_(*row, momentum=β, dampening=1 - f_, lr=-part, **SGD_OFF)
        increment_version([*θ, *m])
    else:
        # m ← β·m − η·g
        torch._foreach_mul_(m, operand(β, m))
        add(m, f, g)
        # θ ← θ + m, or with nesterov, θ ← θ + β·m
        torch._foreach_add_(θ, m, alpha=part)
    if settings["nesterov"]:
        # θ ← θ − η·g
        add(θ, f, g)


def adam(θ, g, s, slots, η_t, settings, fused) -> None:
    """The moments of `s·g`, then `θ ← θ − ηₜ·m/(√v + ε)`."""
    β_1, β_2, ε = settings["beta_1"], settings["beta_2"], settings["epsilon"]
    if g[0].dtype == torch.float32:
        # As scalars of the dtype of g, β and 1 − β add up to 1.
        β_1, β_2 = float(np.float32(β_1)), float(np.float32(β_2))
    step = (η_t, β_1, β_2, ε)
    # With 0 < β₁ < 1/2, the kernel computes g − β₁·(g − m), in which β₁ loses digits.
    update = _adam_by_kernel if fused and not 0 < β_1 < 0.5 else _adam_by_formula
    if shared(s) == 1:
        update(θ, g, *slots, step=step)
        return
    are_cut = [fused and t.numel() > PIECE[t.device.type] for t in θ]
    for is_cut, (θ_, g_, s_, slots_) in split(are_cut, θ, g, s, slots):
        if not is_cut:
            update(θ_, torch._foreach_mul(g_, operand(s_, g_)), *slots_, step=step)
            continue
        for f, *row in zip(s_, θ_, g_, *slots_):
            for place, x, *others in pieces(*row):
                update([place], [x * f], *([t] for t in others), step=step)


def _adam_by_formula(θ, g, m, v, *v_max, step: tuple) -> None:
    η_t, β_1, β_2, ε = step
    # m ← β₁·m + (1 − β₁)·g
    average(m, β_1, g)
    # v ← β₂·v + (1 − β₂)·g²
    torch._foreach_mul_(v, operand(β_2, v))
    torch._foreach_addcmul_(v, g, g, 1 - β_2)
    for largest in v_max:
        # v_max ← max(v_max, v)
        torch._foreach_maximum_(largest, v)
        v = largest
    # θ ← θ − ηₜ·m/(√v + ε)
    root = torch._foreach_sqrt(v)
    torch._foreach_add_(root, [operand(ε, root)] * len(root))
    torch._foreach_addcdiv_(θ, m, root, -η_t)


def _adam_by_kernel(θ, g, m, v, *v_max, step: tuple) -> None:
    η_t, β_1, β_2, ε = step
    lists = θ, g, m, v, v_max[0] if v_max else []
    # With an infinite count of steps, the kernel corrects no bias: that is part of ηₜ.
    count = [torch.full((), torch.inf, device=θ[0].device)] * len(θ)
    betas = {"beta1": β_1, "beta2": β_2, "amsgrad": bool(v_max)}
    torch._fused_adam_(*lists, count, lr=η_t, eps=ε, **betas, **OFF)
    increment_version([t for each in (θ, m, v, *v_max) for t in each])


KERNELS = {
    "keras_textbook_opt.sgd.SGD.apply_dense": sgd,
    "keras_textbook_opt.momentum.Momentum.apply_dense": momentum,
    "keras_textbook_opt.adam.Adam.apply_dense": adam,
}


def shared(f: list) -> float | None:
    """The number that all factors are; `None` if they differ, or are tensors."""
    return f[0] if isinstance(f[0], float) and len(set(f)) == 1 else None


def times(a: float, s: list) -> list:
    """`a·s` for each; of tensors in one call."""
    if isinstance(s[0], float):
        return [a * x for x in s]
    return list((a * torch.stack(s)).unbind())


def add(x: list, f: list, g: list) -> None:
    """`x ← x + f·g`."""
    if shared(f) is not None:
        torch._foreach_add_(x, g, alpha=f[0])
    elif isinstance(f[0], float):
        for x_, f_, g_ in zip(x, f, g):
            x_.add_(g_, alpha=f_)
    else:
        torch._foreach_addcmul_(x, g, f)


def average(x: list, β: float, y: list) -> None:
    """`x ← β·x + (1 − β)·y`."""
    if 0 < β < 0.5:
        # `lerp` computes y − β·(y − x), in which β loses digits.
        torch._foreach_mul_(x, operand(β, x))
        torch._foreach_add_(x, y, alpha=1 - β)
    else:
        torch._foreach_lerp_(x, y, 1 - β)


def operand(f: Any, x: list) -> Any:
    """`f`, one factor or one for each, as `_foreach_*` is quickest with it.

    On a CPU, it makes a tensor of a float once for each tensor of `x`, which takes as
    long as the product of a small one.
    """
    if not x[0].is_cpu:
        return f
    tensor = torch.tensor(f, dtype=x[0].dtype)
    return tensor.unbind() if tensor.ndim else tensor


def by_size(θ, g, s, slots) -> Any:
    """Small tensors, then those that a fused kernel takes; with `fused` before each."""
    # A single thread starts no others.
    least = LARGE if θ[0].is_cpu and torch.get_num_threads() > 1 else 0
    rows = zip(θ, g, *slots) if slots else ()
    are_fused = [row[0].numel() >= least and _has_kernel(row) for row in rows]
    return split(are_fused, θ, g, s, slots)


def split(which: list[bool], θ, g, s, slots) -> Any:
    """The lists where `which` is false, then those where it is true."""
    if not any(which) or all(which):
        yield any(which), (θ, g, s, slots)
        return
    for kind in (False, True):
        ks = [k for k, is_it in enumerate(which) if is_it == kind]
        θ_, g_, s_, *slots_ = ([each[k] for k in ks] for each in (θ, g, s, *slots))
        yield kind, (θ_, g_, s_, slots_)


def _has_kernel(row: tuple) -> bool:
    """Whether a fused kernel takes a variable, its gradient and its slots."""
    kinds = {(t.dtype, t.device, t.stride()) for t in row}
    return len(kinds) == 1 and row[0].is_contiguous() and row[0].dtype == torch.float32


def pieces(*row: Tensor) -> Any:
    """A variable, its gradient and its slots, in vectors of `PIECE` elements."""
    most = PIECE[row[0].device.type]
    if not all(map(Tensor.is_contiguous, row)):
        return [row]
    return zip(*(t.view(-1).split(most) for t in row))


def share_memory(θ: list, g: list) -> bool:
    """Whether two variables overlap in memory, or a variable and a gradient."""
    spans = sorted([(t.data_ptr(), t.nbytes) for t in θ if t.numel()])
    overlap = any([a + size > b for (a, size), (b, _) in pairwise(spans)])
    return overlap or not {a for a, _ in spans}.isdisjoint(map(Tensor.data_ptr, g))


def in_float32(θ, carries, g, s, slots) -> Any:
    """The lists of each variable, or of a piece of it, with `θ + carry` in float32.

    Before the next one, the values assigned to this one are rounded into `θ`, and the
    rounding error goes to the carry, if there is one.
    """
    for s_, *row in zip(s, θ, g, *slots, *([carries] if carries else [])):
        for θ_, g_, *others in pieces(*row):
            carry = others.pop() if carries else None
            x = _read(θ_, carry)
            yield [x], [g_.float()], [s_], [[slot] for slot in others]
            θ_.copy_(x)
            if carry is not None:
                # An infinity or a NaN has no rounding error.
                torch.sub(x, θ_.float(), out=carry).nan_to_num_(0.0, 0.0, 0.0)


def _read(θ: Tensor, carry: Tensor | None) -> Tensor:
    """`θ + carry` where that rounds to `θ`, elsewhere `θ`."""
    plain = θ.float()
    if carry is None:
        return plain
    exact = plain + carry
    rounded = exact.to(θ.dtype)
    if θ.is_cpu and θ.stride() == (1,) and not (len(θ) | θ.storage_offset()) % 4:
        # Words of 64 bits are compared in a quarter of the time.
        words = rounded.view(torch.int64), θ.view(torch.int64)
        return exact if torch.equal(*words) else torch.where(rounded == θ, exact, plain)
    return torch.where(rounded == θ, exact, plain)


def squares(g: list) -> list:
    """`‖g‖₂²` of each."""
    if any([t.is_cpu for t in g]):
        return list(map(_square, g))
    norms = torch.stack(torch._foreach_norm(g, 2, torch.float64))
    return list(norms.square().unbind())


def _square(g: Tensor) -> float:
    if g.numel() <= 8 * ROW or g.dtype == torch.float64:
        return vector_norm(g, dtype=torch.float64).item() ** 2
    rows, rest = g.reshape(-1).tensor_split([g.numel() // ROW * ROW])
    norms = vector_norm(rows.view(-1, ROW), dim=1, dtype=torch.float32)
    return norms.double().square().sum().item() + _square(rest)
