"""A step on PyTorch, eager; `on_tensorflow` says what each function is."""

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
PEERS = ("torch", "optax")

torch.set_num_threads(machine.cores())


def device() -> str:
    where = get_device()
    return torch.cuda.get_device_name() if where == "cuda" else where


def wait(variables: Sequence[Any] = ()) -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def contender(
    optimizer: Any, variables: Sequence[Any], g: Sequence[Any], mode: str = ""
) -> Contender:
    def step() -> None:
        optimizer.apply(g, variables)
        wait()

    return Contender(step, lambda: values_of(v.value for v in variables))


def first_steps(
    optimizer: Any, variables: Sequence[Any], g: Sequence[Any]
) -> dict[str, Step]:
    return {"first run": contender(optimizer, variables, g).step}


def tensors(arrays: Sequence[np.ndarray], dtype: str) -> list[Any]:
    kind = getattr(torch, dtype)
    return [torch.tensor(array, dtype=kind, device=get_device()) for array in arrays]


def values_of(tensors: Iterable[Any]) -> list[np.ndarray]:
    return [each.detach().to("cpu", torch.float32).numpy().copy() for each in tensors]


def loops(elements: int) -> Iterator[tuple[Step, float]]:
    a, b = torch.ones(2, LARGE, device=get_device())
    for move, arrays in ((a.add_, 3), (a.copy_, 2)):

        def step(move: Any = move) -> None:
            move(b)
            wait()

        yield step, arrays * LARGE / elements
