"""A step on JAX, jitted with its buffers donated; optax beside."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.steps import cases
from benchmarks.steps.pairs import Contender, values_of

MODES = ("",)
PEER = "optax"


def wait(variables: Sequence[Any]) -> None:
    jax.block_until_ready([each.value for each in variables])


def contender(
    optimizer: Any, variables: Sequence[Any], g: Sequence[Any], mode: str = ""
) -> Contender:
    def update(θ: Any, state: Any, g: Any) -> Any:
        return optimizer.stateless_apply(state, g, θ)

    θ = [jnp.copy(each.value) for each in variables]
    state = [jnp.copy(each.value) for each in optimizer.variables]
    return jitted(update, θ, state, g)


def jitted(update: Callable[..., Any], θ: Any, state: Any, g: Any) -> Contender:
    """Return the step of `update(θ, state, g)`, which returns new `θ` and state."""
    compiled = jax.jit(update, donate_argnums=(0, 1))
    kept = [θ, state]

    def step() -> None:
        kept[:] = compiled(*kept, g)
        jax.block_until_ready(kept)

    return Contender(step, lambda: values_of(kept[0]))


def peer(case: str, θ: Sequence[Any], g: Sequence[Any]) -> Contender | None:
    if case == "AMSGrad":  # optax takes the maximum of other values.
        return None
    import optax

    found = [optax.stateless_with_tree_map(_clip)] if cases.CLIPPED in case else []
    if cases.equation(case) == "Momentum":
        found.append(optax.trace(0.9))
    if cases.equation(case) == "Adam":
        found.append(optax.scale_by_adam(eps=cases.EPSILON))
    optimizer = optax.chain(*found, optax.scale(-cases.LEARNING_RATE))

    def update(θ: Any, state: Any, g: Any) -> Any:
        updates, state = optimizer.update(g, state, θ)
        return optax.apply_updates(θ, updates), state

    return jitted(update, θ, optimizer.init(θ), g)


def _clip(g: Any, _: Any) -> Any:
    """Clip by the norm of one variable's gradient, which optax has no function for."""
    norm = jnp.linalg.norm(g.ravel())
    return g * (cases.CLIPNORM / jnp.maximum(norm, cases.CLIPNORM))
