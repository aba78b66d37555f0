"""What gradients are multiplied by: the rate, a clip's scale, a loss scale.

`scales` are one factor for each gradient: a list of numbers or a vector. No gradient is
copied whole for it. What is known on a GPU alone, as the scales of a clip are, stays a
tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from keras_textbook_opt.backends.torch_lists.parts import (
    SMALL,
    Factors,
    Tensors,
    batches,
    cut_like,
    runs,
    split,
    together,
)
from keras_textbook_opt.backends.torch_lists.tensors import is_on_a_cpu, wide

Scalar: TypeAlias = float | Tensor
Scales: TypeAlias = Sequence[float] | Tensor | None


def groups(
    scales: Scales, *lists: Tensors
) -> Iterator[tuple[Factors | None, list[Tensors]]]:
    """Scales and lists of each dtype and device; no scales where all of them are 1."""
    s = None if scales is None else listed(scales)
    for group in together([x.dtype for x in lists[0]], [x.device for x in lists[0]]):
        device = lists[0][group[0]].device
        factors = None if s is None else [known(s[k], device) for k in group]
        if factors and _are_numbers(factors) and factors.count(1.0) == len(factors):
            factors = None
        if len(group) == len(lists[0]):
            yield factors, list(lists)
        else:
            yield factors, [[each[k] for k in group] for each in lists]


def listed(scales: Sequence[float] | Tensor) -> Factors:
    """Scales as numbers, or as tensors if they are known on a GPU alone."""
    if not isinstance(scales, Tensor):
        return list(scales)
    return scales.tolist() if is_on_a_cpu(scales) else list(scales)


def known(x: Scalar, device: torch.device) -> Scalar:
    """`x` as a number, or as a tensor on `device` if it is known on a GPU alone."""
    if isinstance(x, Tensor) and "cpu" not in (x.device.type, device.type):
        return x.to(device)
    return float(x)


def rates(η: Scalar, s: Factors | None, g: Tensors) -> Factors:
    """`η·s` for each gradient, in float64."""
    η = known(η, g[0].device)
    if s is None:
        return [η] * len(g)
    if _are_numbers(s):
        return [η * x for x in s]
    if _is_one(s):
        return [η * s[0].double()] * len(s)
    return list(η * torch.stack(s).double())


def sizes(scales: list, norms: Tensor) -> Tensor:
    """`|s|` of each of these scales, beside their norms."""
    if any(isinstance(s, Tensor) for s in scales):
        tensors = [torch.as_tensor(s, device=norms.device).double() for s in scales]
        return torch.stack(tensors).abs()
    numbers = torch.tensor(scales, dtype=torch.float64)
    return numbers.abs().to(norms.device, non_blocking=True)


def product(x: Tensor, scale: Scalar | None) -> Tensor:
    """`scale·x`, of 32 bits at least, also where its dtype cannot hold the scale."""
    x = wide(x)
    return x if scale is None else scaled([x], [scale])[0]


def subtract(θ: Tensors, f: Factors, g: Tensors) -> None:
    """`θ ← θ − f·g`."""
    if _are_numbers(f) and not _are_tiny(f):
        for f_, (θ_, g_) in runs(f, θ, g):
            torch._foreach_add_(θ_, g_, alpha=-f_)
    else:
        for some, (θ_, g_) in batches(f, θ, g):
            torch._foreach_sub_(θ_, scaled(g_, some))


def scaled(g: Tensors, f: Factors, scratch: Tensor | None = None) -> list[Tensor]:
    """`f·g` in new tensors, or in `scratch` if it is a single one."""
    if not _are_numbers(f):
        return _scaled_by_tensors(g, f)
    factors = [f]
    if _are_tiny(f):
        factors = [[math.sqrt(abs(x)) for x in f]]
        factors += [[math.copysign(r, x) for r, x in zip(factors[0], f)]]
    if scratch is None or len(g) > 1:
        found = list(torch._foreach_mul(g, factors[0]))
    else:
        out = scratch[: g[0].numel()].view_as(g[0])
        found = [torch.mul(g[0], factors[0][0], out=out)]
    for more in factors[1:]:
        torch._foreach_mul_(found, more)
    return found


def _scaled_by_tensors(g: Tensors, f: list[Tensor]) -> list[Tensor]:
    """`f·g` in new tensors, by the roots of `f`, which the dtype of `g` can hold."""
    if _is_one(f):
        roots = _two_roots(f[0], g[0].dtype)
        found = torch._foreach_mul(g, roots[0])
        torch._foreach_mul_(found, roots[1])
        return list(found)
    found = list(g)
    small = [t.numel() <= SMALL for t in g]
    for are_small, f_, (g_, places) in split(small, f, g, list(range(len(g)))):
        roots = _two_roots(torch.stack(f_), g[0].dtype)
        for k, t in zip(places, (_packed if are_small else _each)(g_, *roots)):
            found[k] = t
    return found


def _each(g: Tensors, first: Tensor, second: Tensor) -> list[Tensor]:
    """`first·second·g` for each gradient by itself."""
    return [(t * x).mul_(y) for t, x, y in zip(g, first, second)]


def _packed(g: Tensors, first: Tensor, second: Tensor) -> list[Tensor]:
    """The same in one vector: for small ones, a call takes longer than its work."""
    flat = torch.cat([t.reshape(-1) for t in g])
    counts = torch.tensor(list(map(Tensor.numel, g)))
    counts = counts.to(flat.device, non_blocking=True)
    for factors in (first, second):
        flat *= factors.repeat_interleave(counts, output_size=len(flat))
    return cut_like(g, flat)


def _two_roots(f: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two factors whose product is `f`."""
    root = f.abs().sqrt()
    return root.to(dtype), (root * f.sign()).to(dtype)


def _are_tiny(f: list[float]) -> bool:
    """Whether float32 has few digits of one of them or none, though their root's."""
    return any(0 < abs(x) < torch.finfo(torch.float32).tiny for x in set(f))


def _are_numbers(f: Factors) -> bool:
    return not isinstance(f[0], Tensor)


def _is_one(f: Factors) -> bool:
    """Whether all factors are one and the same tensor."""
    return all(x is f[0] for x in f)
