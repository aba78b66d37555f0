"""A step on PyTorch, eager; `torch.optim` with its fused kernels beside."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.setting import cores
from benchmarks.steps import cases
from benchmarks.steps.pairs import Contender, values_of

MODES = ("",)
PEER = "torch.optim fused"

torch.set_num_threads(cores())


def wait(variables: Sequence[Any] = ()) -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def contender(
    optimizer: Any, variables: Sequence[Any], g: Sequence[Any], mode: str = ""
) -> Contender:
    def step() -> None:
        optimizer.apply(g, variables)
        wait()

    return Contender(step, partial(values_of, variables))


def peer(case: str, θ: Sequence[Any], g: Sequence[Any]) -> Contender | None:
    """Return the step of `torch.optim`.

    A clip is in place: the first step clips the gradient, later ones what that left,
    which takes as long.
    """
    parameters = [torch.nn.Parameter(value) for value in θ]
    for parameter, gradient in zip(parameters, g):
        parameter.grad = gradient
    kind: dict[str, Any] = {"fused": True, **cases.arguments(case)}
    kind["lr"], clipnorm = kind.pop("learning_rate"), kind.pop("clipnorm", None)
    make: Any = torch.optim.SGD
    if "epsilon" in kind:
        make, kind["eps"] = torch.optim.Adam, kind.pop("epsilon")
    optimizer = make(parameters, **kind)

    def step() -> None:
        for parameter in parameters if clipnorm else ():
            torch.nn.utils.clip_grad_norm_(parameter, clipnorm)
        optimizer.step()
        wait()

    return Contender(step, partial(values_of, parameters))
