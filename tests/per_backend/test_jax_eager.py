"""A step outside of any program compiles nothing that the steps before it have not."""

from __future__ import annotations

import contextlib
from typing import Any

import jax
import keras
import numpy as np
import pytest

from keras_textbook_opt import callbacks
from tests.recipes import EXACT, Recipe

pytestmark = pytest.mark.needs("jax")

COMPILED = "/jax/core/compile/backend_compile_duration"
FEATURES: list[dict[str, Any]] = [
    {"gradient_accumulation_steps": 2},
    {"use_ema": True, "ema_overwrite_frequency": 2},
    {"loss_scale_factor": 2.0},
]
RECIPES = [*EXACT, *(Recipe(EXACT[1].optimizer, more) for more in FEATURES)]


@pytest.fixture(scope="module")
def compilations():
    """The names of what JAX has compiled so far; a list that grows."""
    found: list[str] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == COMPILED:
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    jax.jit(lambda x: x + 1)(0.0)  # a new function is always compiled
    assert found
    return found


@pytest.mark.parametrize("watched", [False, True], ids=["", "watched"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_later_eager_step_compiles_nothing(recipe, dtype, watched, compilations):
    variables = [keras.Variable(np.ones((3, 2)), dtype=dtype) for _ in range(2)]
    optimizer = recipe.make()
    optimizer.build(variables)
    g = [keras.ops.ones((3, 2), dtype) * factor for factor in (1.0, 1e-3)]
    with callbacks.watch(optimizer) if watched else contextlib.nullcontext():

        def take_steps() -> None:
            for factor in (1.0, -2.0, 0.0, 1e30, 1e-30):
                optimizer.apply([x * factor for x in g], variables)

        take_steps()
        before = len(compilations)
        take_steps()
        assert len(compilations) == before
