"""Norms of gradients, right at every size, and what the clips make of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import compress

import torch
from torch import Tensor

from keras_textbook_opt.backends.torch_lists.factors import Scales, listed, scaled
from keras_textbook_opt.backends.torch_lists.parts import PIECE, Tensors, start
from keras_textbook_opt.backends.torch_lists.tensors import (
    PLAIN,
    is_narrow,
    is_split,
    wide,
)

# So many squares can be summed in float32 and leave a norm right to 1e-6.
ROW = 1024


@torch.no_grad()
def norms(g: Tensors) -> Tensor:
    """`‖g‖₂` of each gradient, a vector of float64 on the device of the first.

    Right for every finite gradient, whatever its size.
    """
    if not g:
        return torch.empty(0, dtype=torch.float64)
    if not set(map(type, g)) <= PLAIN and any(map(is_split, g)):
        return torch.stack(
            [_split_norm(t) if is_split(t) else norms([t])[0] for t in g]
        )
    device = g[0].device
    if device.type != "cpu":
        found = torch._foreach_norm(g, 2, torch.float64)
        exact = [_norm_in_float64(t) if _is_double(t) else x for t, x in zip(g, found)]
        return torch.stack([norm.to(device) for norm in exact])
    # The squares of float32 fit into float64, in which few are quick to add up.
    simple = [t.numel() <= 4 * ROW and not _is_double(t) for t in g]
    few = list(compress(g, simple))
    found = iter(torch._foreach_norm(few, 2, torch.float64) if few else ())
    return torch.tensor(
        [next(found) if is_one else _norm_by_rows(t) for t, is_one in zip(g, simple)],
        dtype=torch.float64,
    )


def _norm_in_float64(g: Tensor) -> Tensor:
    """`M·‖g/M‖₂` with the largest `M`, whose square may leave float64."""
    if not g.numel():
        return _norm(g)
    largest = _norm(g, math.inf)
    largest = torch.where((largest > 0) & largest.isfinite(), largest, 1.0)
    return largest * _norm(g / largest)


def _is_double(x: Tensor) -> bool:
    return x.dtype == torch.float64


def _split_norm(g: Tensor) -> Tensor:
    """`‖g‖₂` of a gradient that is split over processes: all have to ask for it."""
    return _norm(g, dtype=torch.float64).full_tensor()


def _norm_by_rows(g: Tensor) -> float:
    """`‖g‖₂` by the norms of its rows, or `M·‖g/M‖₂` where a square leaves float32."""
    g = g.reshape(-1)
    body, rest = g.tensor_split([g.numel() // ROW * ROW])
    rows = [_norm(x.view(-1, ROW), dim=1) for x in _wide_pieces(body)]
    norm = _norm(torch.cat([*rows, _norm(wide(rest))[None]]), dtype=torch.float64)
    if g.numel() * 2.0**-99 <= norm**2 < math.inf:
        return norm.item()
    largest = _norm(g, math.inf).double()
    if largest == 0 or not largest.isfinite():
        return largest.item()
    pieces = g.split(PIECE["cpu"])
    return math.hypot(*(largest * _norm(x.double() / largest) for x in pieces))


def _wide_pieces(x: Tensor) -> Iterator[Tensor]:
    """A vector, whole, or if it is of 16 bits in pieces, in one buffer of float32."""
    if not is_narrow(x):
        yield x
        return
    buffer = torch.empty(min(len(x), PIECE["cpu"]), dtype=torch.float32)
    for piece in x.split(len(buffer)):
        yield start(buffer, piece).copy_(piece)


_norm = torch.linalg.vector_norm


def total_norm(norms: Tensor) -> Tensor:
    """`‖(‖g‖₂, ‖g′‖₂, …)‖₂`."""
    largest = norms.max()
    total = largest * _norm(norms / largest)
    return torch.where((largest > 0) & largest.isfinite(), total, largest)


@torch.no_grad()
def largest(g: Tensors) -> Tensor:
    """`max|g|` over all elements of all gradients, 0 if there are none."""
    ends = [end(t) for t in g if t.numel() for end in (torch.amin, torch.amax)]
    if not ends:
        return torch.zeros(())
    return torch.stack([end.to(ends[0].device) for end in ends]).abs().max()


def clip_scales(norms: Tensor, c: float) -> Tensor:
    """`c/max(‖g‖₂, c)` for each norm."""
    return c / norms.clamp(min=c)


@torch.no_grad()
def clamped(g: Tensors, scales: Scales, c: float) -> list[Tensor]:
    """`min(max(s·g, −c), c)` of each gradient, in new tensors."""
    if not g:
        return []
    g = g if scales is None else scaled(g, listed(scales))
    found = torch._foreach_clamp_min(g, -c)
    torch._foreach_clamp_max_(found, c)
    return list(found)
