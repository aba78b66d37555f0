"""A step is compiled once: new values, other rows and another η do not repeat it."""

import keras
import numpy as np
import pytest

from tests.backends import BACKEND, HAS, LONG, few, in_modes
from tests.recipes import EXACT, LAZY, Recipe
from tests.trainer import signature

pytestmark = pytest.mark.skipif(
    BACKEND not in ("tensorflow", "jax"), reason="nothing is compiled there"
)
on_tensorflow = pytest.mark.needs("graphs")
if "graphs" in HAS:
    import tensorflow as tf

ROWS = [[2, 2, 0], [1], [0, 1, 2, 3, 4], [], [4, 4]]
FEATURES = [
    Recipe(LAZY[-1].optimizer, LAZY[-1].arguments | feature)
    for feature in (
        {"gradient_accumulation_steps": 2},
        {"use_ema": True, "ema_overwrite_frequency": 2},
        {"loss_scale_factor": 2.0},
    )
]


def traced(recipe: Recipe, jit: bool, sparse: bool) -> tuple:
    """An optimizer, its variables, a compiled step on them, and its traces."""
    variables = [keras.Variable(np.ones(shape)) for shape in ((5, 2), (3,))]
    optimizer, traces = recipe.make(), []
    optimizer.build(variables)
    kinds = [signature(sparse, (5, 2), "float32"), signature(False, (3,), "float32")]

    @tf.function(jit_compile=jit, input_signature=kinds if sparse else None)
    def step(table, vector):
        traces.append(1)
        optimizer.apply([table, vector], variables)

    return optimizer, variables, step, traces


@on_tensorflow
@pytest.mark.parametrize(
    ("recipe", "mode"), in_modes([*EXACT, *LAZY], slice(5, None, 6), ["graph", "xla"])
)
def test_a_dense_step_is_traced_once_for_all_values_and_learning_rates(recipe, mode):
    optimizer, variables, step, traces = traced(recipe, mode == "xla", sparse=False)
    for value in (1.0, 0.0, -3.0):
        step(tf.fill((5, 2), value), tf.fill((3,), value))
    optimizer.learning_rate = 1000.0
    before = variables[1].numpy()
    step(tf.ones((5, 2)), tf.ones(3))
    assert np.abs(variables[1].numpy() - before).min() > 10
    assert len(traces) == 1


@on_tensorflow
@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=LONG)])
@pytest.mark.parametrize(
    "recipe", few([*EXACT, *LAZY, *FEATURES], slice(1, None, 6)), ids=str
)
def test_a_sparse_step_is_traced_once_for_all_rows(recipe, jit):
    *_, step, traces = traced(recipe, jit, sparse=True)
    for indices in ROWS[: 2 if jit else None]:
        rows = tf.random.stateless_normal((len(indices), 2), (0, len(indices)))
        step(tf.IndexedSlices(rows, tf.constant(indices, "int32")), tf.ones(3))
    assert len(traces) == 1


# Eager steps on JAX.

JAX_RECIPES = [
    EXACT[0],
    EXACT[9],
    Recipe(EXACT[1].optimizer, {"clipnorm": 0.5, "gradient_accumulation_steps": 2}),
    Recipe(EXACT[1].optimizer, {"use_ema": True, "ema_overwrite_frequency": 2}),
]


@pytest.mark.needs("jax")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("recipe", few(JAX_RECIPES, slice(1, 2)), ids=str)
def test_later_eager_steps_compile_nothing(recipe, dtype):
    import jax

    found: list[str] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    jax.jit(lambda x: x + 1)(0.0)  # a new function is always compiled
    assert found
    variables = [keras.Variable(np.ones((3, 2)), dtype=dtype) for _ in range(2)]
    optimizer = recipe.make()
    optimizer.build(variables)
    g = [keras.ops.ones((3, 2), dtype) * factor for factor in (1.0, 1e-3)]

    def take_steps() -> None:
        for factor in (1.0, -2.0, 0.0, 1e15, 1e-30):
            optimizer.apply([x * factor for x in g], variables)

    take_steps()
    before = len(found)
    take_steps()
    assert len(found) == before
