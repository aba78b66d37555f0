"""A step on JAX, jitted with its buffers donated; see `on_tensorflow`."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.steps.bandwidth import LARGE
from benchmarks.steps.contender import Contender
from benchmarks.timing import Step

MODES = ("",)
PEERS = ("optax", "torch")

_add = jax.jit(jnp.add, donate_argnums=0)


def wait(variables: Sequence[Any]) -> None:
    """Wait for what was assigned to the variables."""
    jax.block_until_ready([each.value for each in variables])


def device() -> str:
    return jax.devices()[0].device_kind


def contender(
    optimizer: Any, variables: Sequence[Any], g: Sequence[Any], mode: str = ""
) -> Contender:
    θ, state = (
        [jnp.copy(each.value) for each in some]
        for some in (variables, optimizer.variables)
    )
    return jitted(_update_of(optimizer), θ, state, g)


def jitted(update: Callable[..., Any], θ: Any, state: Any, g: Any) -> Contender:
    """Return the step of `update(θ, state, g)`, which returns new `θ` and state."""
    compiled = jax.jit(update, donate_argnums=(0, 1))
    kept = [θ, state]

    def step() -> None:
        kept[:] = compiled(*kept, g)
        jax.block_until_ready(kept)

    return Contender(step, lambda: [np.asarray(x, np.float32) for x in kept[0]])


def first_steps(
    optimizer: Any, variables: Sequence[Any], g: Sequence[Any]
) -> dict[str, Step]:
    θ, state = ([x.value for x in some] for some in (variables, optimizer.variables))
    made: list[Any] = [jax.jit(_update_of(optimizer))]
    return {
        "trace": lambda: made.append(made[-1].lower(θ, state, g)),
        "compile": lambda: made.append(made[-1].compile()),
        "first run": lambda: jax.block_until_ready(made[-1](θ, state, g)),
    }


def tensors(arrays: Sequence[np.ndarray], dtype: str) -> list[Any]:
    return [jnp.asarray(array, dtype) for array in arrays]


def _update_of(optimizer: Any) -> Callable[..., Any]:
    return lambda θ, state, g: optimizer.stateless_apply(state, g, θ)


def loops(elements: int) -> Iterator[tuple[Step, float]]:
    b = jnp.ones(LARGE)
    kept = [jnp.ones(LARGE)]

    def move() -> None:
        kept[0] = jax.block_until_ready(_add(kept[0], b))

    yield move, 3 * LARGE / elements
