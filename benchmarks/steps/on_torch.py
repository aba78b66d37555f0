"""A step on PyTorch: ours, Keras's, and those of `torch.optim`."""

from functools import partial
from typing import Any

import keras
import numpy as np
import torch

from benchmarks import machine
from benchmarks.steps.contenders import EPSILON, LIMIT, Contender, Step
from benchmarks.steps.optimizers import LEARNING_RATE, MOMENTUM

torch.set_num_threads(machine.cores())


def contenders(
    step: Step, values: list[np.ndarray], gradients: list[np.ndarray]
) -> dict[str, Contender]:
    g = [torch.from_numpy(gradient) for gradient in gradients]
    found = {
        name: _of_keras(optimizer, values, g)
        for name, optimizer in step.optimizers().items()
    }
    found["torch.optim, fused"] = _peer(step, values, g, fused=True)
    if step.equation != "Nesterov":  # which writes into the gradient
        found["torch.optim, foreach"] = _peer(step, values, g, foreach=True)
    return found


def _of_keras(optimizer: Any, values: list[np.ndarray], g: list) -> Contender:
    variables = [keras.Variable(value) for value in values]
    optimizer.build(variables)
    return Contender(
        partial(optimizer.apply, g, variables), partial(_copies, variables)
    )


def _copies(variables: list[Any]) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _peer(step: Step, values: list[np.ndarray], g: list, **kind: Any) -> Contender:
    """Each gradient is clipped by itself, in place, as ours are."""
    θ = [torch.nn.Parameter(torch.from_numpy(value.copy())) for value in values]
    for x, gradient in zip(θ, g):
        x.grad = gradient.clone()
    optimizer = _of_torch(step, θ, kind)

    def take() -> None:
        if step.option:
            for x in θ:
                torch.nn.utils.clip_grad_norm_(x, LIMIT)
        optimizer.step()

    return Contender(take, lambda: [x.detach().numpy().copy() for x in θ])


def _of_torch(step: Step, θ: list[Any], kind: dict[str, Any]) -> Any:
    if step.equation in ("Adam", "AMSGrad"):
        amsgrad = step.equation == "AMSGrad"
        return torch.optim.Adam(θ, LEARNING_RATE, eps=EPSILON, amsgrad=amsgrad, **kind)
    momentum = 0.0 if step.equation == "SGD" else MOMENTUM
    nesterov = step.equation == "Nesterov"
    return torch.optim.SGD(θ, LEARNING_RATE, momentum, nesterov=nesterov, **kind)
