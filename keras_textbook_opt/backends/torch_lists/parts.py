"""Lists of tensors in parts: by key, by device memory, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

Tensors: TypeAlias = list[Tensor]
# One factor for each variable: numbers, or where they are not known here, tensors.
Factors: TypeAlias = list[Any]

# Elements that are worked on at a time where they are copied: on a CPU the copy stays
# in its cache, on a GPU it is worth a launch.
PIECE = {"cpu": 2**19, "cuda": 2**25}
# Up to so many elements, PyTorch's elementwise functions use a single thread.
SMALL = 2**15


def together(*keys: list) -> list[list[int]]:
    """The places at which the keys, each a list, are the same; none for empty lists."""
    if all(len(set(each)) == 1 for each in keys):
        return [list(range(len(keys[0])))]
    members: dict[tuple, list[int]] = {}
    for k, key in enumerate(zip(*keys)):
        members.setdefault(key, []).append(k)
    return list(members.values())


def split(
    which: list[bool], f: Factors, *lists: list
) -> Iterator[tuple[bool, Factors, list]]:
    """Factors and lists of those for which `which` says so, and those of the others."""
    for side in (True, False):
        members = [k for k, each in enumerate(which) if each == side]
        if members:
            rest = [[each[k] for k in members] for each in lists]
            yield side, [f[k] for k in members], rest


def runs(f: list[float], *lists: Tensors) -> Iterator[tuple[float, Sequence[Tensors]]]:
    """The lists whole if they have one factor, or else one by one."""
    if f.count(f[0]) == len(f):
        yield f[0], lists
    else:
        for factor, *tensors in zip(f, *lists):
            yield factor, [[t] for t in tensors]


def batches(f: Factors, *lists: Tensors) -> Iterator[tuple[Factors, Sequence[Tensors]]]:
    """The lists, cut and packed into batches of at most `PIECE` elements."""
    room = PIECE[lists[0][0].device.type]
    if sum(map(Tensor.numel, lists[0])) <= room:
        yield f, lists
        return
    batch: list[tuple] = []
    held = 0
    for row in _cut(room, f, *lists):
        if batch and held + row[1].numel() > room:
            yield _columns(batch)
            batch, held = [], 0
        batch.append(row)
        held += row[1].numel()
    yield _columns(batch)


def _cut(room: int, f: Factors, *lists: Tensors) -> Iterator[tuple]:
    """Factor and tensors of each variable, or of each piece of a large one."""
    for factor, *tensors in zip(f, *lists):
        if tensors[0].numel() <= room:
            yield factor, *tensors
        else:
            for pieces in zip(*(t.view(-1).split(room) for t in tensors)):
                yield factor, *pieces


def _columns(batch: list[tuple]) -> tuple[Factors, Sequence[Tensors]]:
    f, *lists = map(list, zip(*batch))
    return f, lists


def start(buffer: Tensor, like: Tensor) -> Tensor:
    """The first elements of a vector, as many as `like` has."""
    return buffer.narrow(0, 0, like.numel())


def cut_like(tensors: Tensors, flat: Tensor) -> Tensors:
    """A vector cut into the shapes of the tensors."""
    return list(torch._C._nn.unflatten_dense_tensors(flat, tensors))
