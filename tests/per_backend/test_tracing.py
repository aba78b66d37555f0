"""A step is compiled once: new values, other rows and another η do not repeat it."""

import keras
import numpy as np
import pytest

from tests.backends import BACKEND, HAS, LONG, few, in_modes
from tests.recipes import EXACT, LAZY, Recipe

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


class Counted:
    """A step of `recipe` on a table and a vector that counts how often it is traced."""

    def __init__(self, recipe: Recipe, jit: bool):
        self.variables = [keras.Variable(tf.ones((5, 2))), keras.Variable(tf.ones(3))]
        self.optimizer = recipe.make()
        self.optimizer.build(self.variables)
        self.traces = 0
        signature = [
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, 2], tf.float32),
            tf.TensorSpec([3], tf.float32),
        ]
        self._sparse = tf.function(
            self._apply_sparse, input_signature=signature, jit_compile=jit
        )
        self._dense = tf.function(self._apply_dense, jit_compile=jit)

    def _apply_sparse(self, indices, rows, vector):
        self.traces += 1
        self.optimizer.apply([tf.IndexedSlices(rows, indices), vector], self.variables)

    def _apply_dense(self, table, vector):
        self.traces += 1
        self.optimizer.apply([table, vector], self.variables)

    def sparse_step(self, indices: list[int]) -> None:
        rows = np.random.default_rng(len(indices)).normal(size=(len(indices), 2))
        rows = tf.constant(rows, tf.float32)
        self._sparse(tf.constant(indices, tf.int32), rows, tf.ones(3))

    def dense_step(self, value: float) -> None:
        self._dense(tf.fill((5, 2), value), value * tf.ones(3))


@on_tensorflow
@pytest.mark.parametrize(
    ("recipe", "mode"), in_modes([*EXACT, *LAZY], slice(5, None, 6), ["graph", "xla"])
)
def test_a_dense_step_is_traced_once_for_all_values_and_learning_rates(recipe, mode):
    counted = Counted(recipe, jit=mode == "xla")
    for value in (1.0, 0.0, -3.0):
        counted.dense_step(value)
    counted.optimizer.learning_rate = 1000.0
    before = counted.variables[1].numpy()
    counted.dense_step(1.0)
    assert np.abs(counted.variables[1].numpy() - before).min() > 10
    assert counted.traces == 1


@on_tensorflow
@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=LONG)])
@pytest.mark.parametrize(
    "recipe", few([*EXACT, *LAZY, *FEATURES], slice(1, None, 6)), ids=str
)
def test_a_sparse_step_is_traced_once_for_all_rows(recipe, jit):
    counted = Counted(recipe, jit=jit)
    for indices in ROWS[: 2 if jit else None]:
        counted.sparse_step(indices)
    assert counted.traces == 1


@on_tensorflow
def test_fit_traces_its_step_only_at_its_start(monkeypatch):
    model = keras.Sequential(
        [keras.layers.Embedding(5, 2), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    optimizer = LAZY[2].make()
    original, applied = optimizer.apply, []

    def apply(*args):
        applied.append(args)
        original(*args)

    monkeypatch.setattr(optimizer, "apply", apply)
    model.compile(optimizer, "mse", jit_compile=False)
    x, y = np.array([[2, 2, 0], [4, 3, 1]]), np.array([[1.0], [-1.0]])
    counts = []
    for values in (x, x[::-1], 4 - x):
        model.fit(values, y, batch_size=1, epochs=2, verbose=0)
        counts.append(len(applied))
    # Keras itself traces a first fit twice: its metrics are created in the first trace.
    assert counts == [counts[0]] * 3 and counts[0] <= 2
    assert int(optimizer.iterations) == 12


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
