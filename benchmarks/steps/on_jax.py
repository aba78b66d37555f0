"""A step on JAX, jitted and with its buffers donated: ours, Keras's and optax's."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from benchmarks.steps.contenders import EPSILON, LIMIT, Contender, Step
from benchmarks.steps.optimizers import LEARNING_RATE, MOMENTUM


def contenders(
    step: Step, values: list[np.ndarray], gradients: list[np.ndarray]
) -> dict[str, Contender]:
    g = list(map(jnp.asarray, gradients))
    found = {
        name: _of_keras(optimizer, values, g)
        for name, optimizer in step.optimizers().items()
    }
    # Its AMSGrad takes the largest of other values.
    if find_spec("optax") and step.equation != "AMSGrad":
        found["optax"] = _peer(step, values, g)
    return found


def _of_keras(optimizer: Any, values: list[np.ndarray], g: list) -> Contender:
    variables = [keras.Variable(value) for value in values]
    optimizer.build(variables)

    def update(θ, state, g):
        return optimizer.stateless_apply(state, g, θ)

    return _jitted(update, values, [jnp.copy(v.value) for v in optimizer.variables], g)


def _jitted(update: Callable, values: list[np.ndarray], state: Any, g: list):
    jitted = jax.jit(update, donate_argnums=(0, 1))
    kept = [[jnp.array(value) for value in values], state]

    def take() -> None:
        kept[:] = jitted(*kept, g)
        jax.block_until_ready(kept)

    return Contender(take, lambda: [np.array(x) for x in kept[0]])


def _peer(step: Step, values: list[np.ndarray], g: list) -> Contender:
    import optax

    momentum = None if step.equation == "SGD" else MOMENTUM
    optimizer = (
        optax.adam(LEARNING_RATE, eps=EPSILON)
        if step.equation == "Adam"
        else optax.sgd(LEARNING_RATE, momentum, step.equation == "Nesterov")
    )
    if step.option:
        optimizer = optax.chain(optax.stateless(_clipped), optimizer)

    def update(θ, state, g):
        updates, state = optimizer.update(g, state, θ)
        return optax.apply_updates(θ, updates), state

    state = optimizer.init(list(map(jnp.asarray, values)))
    return _jitted(update, values, state, g)


def _clipped(updates: Any, _: Any) -> Any:
    """Each by its own norm: optax clips by that of all."""
    return jax.tree.map(
        lambda g: g * (LIMIT / jnp.maximum(jnp.linalg.norm(g.ravel()), LIMIT)), updates
    )
