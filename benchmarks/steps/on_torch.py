"""A step on PyTorch, eager."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from keras.src.backend.torch.core import get_device

from benchmarks import machine
from benchmarks.steps.bandwidth import LARGE
from benchmarks.steps.contender import Contender
from benchmarks.timing import Step

MODES = ("",)
# Its own first: an accelerator has no room for others.
PEERS = ("torch", "optax")

torch.set_num_threads(machine.cores())


def device() -> str:
    """Return the name of the device that steps run on."""
    where = get_device()
    return torch.cuda.get_device_name() if where == "cuda" else where


def wait(variables: Sequence[Any] = ()) -> None:
    """Wait for all that the device has to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def contender(
    optimizer: Any, variables: Sequence[Any], g: Sequence[Any], mode: str = ""
) -> Contender:
    """Return the step of an optimizer of Keras that is built on the variables."""

    def step() -> None:
        optimizer.apply(g, variables)
        wait()

    return Contender(step, lambda: values_of(v.value for v in variables))


def first_steps(
    optimizer: Any, variables: Sequence[Any], g: Sequence[Any]
) -> dict[str, Step]:
    """Return what happens from a built optimizer to its first step, by name."""
    return {"first run": contender(optimizer, variables, g).step}


def tensors(arrays: Sequence[np.ndarray], dtype: str) -> list[Any]:
    kind = getattr(torch, dtype)
    return [torch.tensor(array, dtype=kind, device=get_device()) for array in arrays]


def values_of(tensors: Iterable[Any]) -> list[np.ndarray]:
    return [each.detach().to("cpu", torch.float32).numpy().copy() for each in tensors]


def loops(elements: int) -> Iterator[tuple[Step, float]]:
    """Return what moves an accelerator's memory, and so many arrays."""
    a, b = torch.ones(2, LARGE, device=get_device())
    for move, arrays in ((a.add_, 3), (a.copy_, 2)):

        def step(move: Any = move) -> None:
            move(b)
            wait()

        yield step, arrays * LARGE / elements
