"""Variables of 16 bits, widened piece by piece, with what their carries hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import torch
from torch import Tensor

from keras_textbook_opt.backends.torch_lists.factors import Scales, groups
from keras_textbook_opt.backends.torch_lists.parts import (
    PIECE,
    Tensors,
    batches,
    cut_like,
    start,
)


@torch.no_grad()
def widened(
    θ: Tensors, carries: Tensors | None, scales: Scales, *lists: Tensors
) -> Iterator[tuple[Scales, list[Tensors]]]:
    """Scales and lists for the equations, of variables `θ` of 16 bits.

    Each item holds some of the variables, or a piece of one, in float32 with what their
    carries have, and beside them the same of the other lists, in float32 too. What is
    written into these variables is rounded into `θ` when the next item is asked for;
    the rest goes to the carries, or is lost without them. A carry counts only while `θ`
    holds what was left there with it.
    """
    held = [] if carries is None else [carries]
    for s, group in groups(scales, θ, *held, *lists):
        buffers = _Buffers(group[0], len(group) - len(held) - 1)
        factors = [1.0] * len(group[0]) if s is None else s
        for f, (θ_, *others) in batches(factors, *group):
            carries_, others = others[: len(held)], others[len(held) :]
            x, wide = buffers.read(θ_, *carries_), buffers.widen(others)
            yield (None if s is None else f), [cut_like(θ_, x), *wide]
            buffers.write(x, θ_, *carries_)


@final
class _Buffers:
    """Memory for what is widened, used again for each piece."""

    def __init__(self, θ: Tensors, others: int):
        dtype, device = θ[0].dtype, θ[0].device
        count = min(sum(map(Tensor.numel, θ)), PIECE[device.type])
        wide = torch.empty((2 + others, count), dtype=torch.float32, device=device)
        self.exact, self.plain, *self.others = wide
        self.held = torch.empty(count, dtype=dtype, device=device)
        self.rounded = torch.empty_like(self.held)

    def read(self, θ: Tensors, carries: Tensors | None = None) -> Tensor:
        """`θ + carry` where `θ` is what that is rounded to, and `θ` elsewhere."""
        held = _joined(θ, self.held)
        plain = start(self.plain, held).copy_(held)
        if carries is None:
            return plain
        exact = start(self.exact, held)
        torch.add(_joined(carries, self.exact), plain, out=exact)
        rounded = start(self.rounded, held).copy_(exact)
        if held.device.type == "cpu" and _same_bits(rounded, held):
            return exact
        return torch.where(rounded == held, exact, plain, out=exact)

    def widen(self, lists: Sequence[Tensors]) -> list[Tensors]:
        wide = []
        for tensors, buffer in zip(lists, self.others):
            if tensors[0].dtype != torch.float32:
                narrow = _joined(tensors, self.rounded.view(tensors[0].dtype))
                tensors = cut_like(tensors, start(buffer, narrow).copy_(narrow))
            wide.append(tensors)
        return wide

    def write(self, x: Tensor, θ: Tensors, carries: Tensors | None = None) -> None:
        """`θ ← x`, rounded, and what it has no bits for into the carries."""
        held = θ[0].view(-1) if len(θ) == 1 else start(self.held, x)
        held.copy_(x)
        if len(θ) > 1:
            torch._foreach_copy_(θ, cut_like(θ, held))
        if carries is not None:
            plain = start(self.plain, x).copy_(held)
            rest = carries[0].view(-1) if len(carries) == 1 else x
            # Nothing is left of an infinity or of what is not a number.
            torch.sub(x, plain, out=rest).nan_to_num_(0.0, 0.0, 0.0)
            if rest is x:
                torch._foreach_copy_(carries, cut_like(carries, rest))


def _joined(tensors: Tensors, buffer: Tensor) -> Tensor:
    """The tensors one after the other, in the buffer; a single one as it is."""
    flat = [t.view(-1) for t in tensors]
    if len(flat) == 1:
        return flat[0]
    count = sum(map(Tensor.numel, flat))
    return torch.cat(flat, out=buffer.narrow(0, 0, count))


def _same_bits(x: Tensor, y: Tensor) -> bool:
    """Whether vectors of 16 bits are the same; words of 64 are quick to compare."""
    if not len(x) or x.storage_offset() % 4 or y.storage_offset() % 4:
        return torch.equal(x.view(torch.int16), y.view(torch.int16))
    words = len(x) // 4 * 4
    return torch.equal(
        x[:words].view(torch.int64), y[:words].view(torch.int64)
    ) and torch.equal(x[words:].view(torch.int16), y[words:].view(torch.int16))
