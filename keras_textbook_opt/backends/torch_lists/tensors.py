"""Which tensors may be in the lists, and what kind they are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from keras_textbook_opt.backends.torch_lists.parts import PIECE, Tensors

PLAIN = {Tensor, torch.nn.Parameter}
NARROW = {torch.float16, torch.bfloat16}


def takes(θ: Tensors, g: Tensors, *slots: Tensors) -> list[bool]:
    """Whether each variable, with its gradient and slots, may be in the lists here.

    Its tensors must be plain ones (no subclass but `torch.nn.Parameter`), contiguous,
    of float32 or float64, and of one shape, dtype and device, a CPU or a CUDA GPU. A
    variable of 16 bits, and perhaps its gradient, is for `widened`; all else beside it
    is of float32.
    While PyTorch traces or transforms a function, or where two variables share memory,
    or a variable and a gradient, no variable is taken.
    """
    if is_traced():
        return [False] * len(θ)
    lists = (θ, g, *slots)
    fit = [True] * len(θ)
    if not _fit(lists):
        fit = [_fit([[t] for t in tensors]) for tensors in zip(*lists)]
    taken = [[t for t, fits in zip(each, fit) if fits] for each in (θ, g)]
    return [False] * len(θ) if _share_memory(*taken) else fit


def _fit(lists: Sequence[Tensors]) -> bool:
    tensors = [t for each in lists for t in each]
    shapes = [t.shape for t in lists[0]]
    return not tensors or (
        set(map(type, tensors)) <= PLAIN
        and all(map(Tensor.is_contiguous, tensors))
        and _dtypes_fit(lists)
        and len({t.device for t in tensors}) == 1
        and tensors[0].device.type in PIECE
        and all([t.shape for t in each] == shapes for each in lists)
    )


def _dtypes_fit(lists: Sequence[Tensors]) -> bool:
    of_θ, of_g, *of_slots = [{t.dtype for t in each} for each in lists]
    if len(of_θ) > 1 or not of_θ <= {*NARROW, torch.float32, torch.float64}:
        return False
    exact = of_θ if NARROW.isdisjoint(of_θ) else {torch.float32}
    return of_g in (of_θ, exact) and all(each == exact for each in of_slots)


def _share_memory(θ: Tensors, g: Tensors) -> bool:
    spans = sorted([(t.data_ptr(), t.nbytes) for t in θ if t.numel()])
    overlap = any([a + size > b for (a, size), (b, _) in pairwise(spans)])
    return overlap or not {a for a, _ in spans}.isdisjoint(map(Tensor.data_ptr, g))


def are_alike(g: list, θ: Tensors) -> bool:
    """Whether the gradients are plain tensors, each like its variable.

    Then nothing need be converted.
    """
    if not (
        set(map(type, g)) <= {Tensor} and set(map(type, θ)) <= {torch.nn.Parameter}
    ):
        return False
    dtypes = [x.dtype for x in θ]
    return (
        [x.dtype for x in g] == dtypes
        and [x.shape for x in g] == [x.shape for x in θ]
        and [x.device for x in g] == [x.device for x in θ]
        and {x.layout for x in g} <= {torch.strided}
    )


def is_traced() -> bool:
    """Whether PyTorch traces or transforms the function that runs here."""
    if torch.compiler.is_compiling():
        return True
    return torch._C._functorch.peek_interpreter_stack() is not None


def is_narrow(x: Tensor) -> bool:
    """Whether `x` is of 16 bits."""
    return x.dtype in NARROW


def wide(x: Tensor) -> Tensor:
    """`x`, in float32 if it is of 16 bits."""
    return x.float() if is_narrow(x) else x


def is_on_a_cpu(x: Tensor) -> bool:
    """Whether its numbers are known without waiting for a device."""
    return x.device.type == "cpu"


def is_split(x: Any) -> bool:
    """Whether a tensor is a `DTensor`, of which each process has a part."""
    return hasattr(x, "device_mesh")


def split_like(x: Tensor, reference: Any) -> Any:
    """`x`, which all processes have, split as `reference` is if that is split."""
    if not is_split(reference):
        return x
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(x, reference.device_mesh, reference.placements)
