"""A step is traced once: new values, other rows and another η do not trace it again."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.backends import few, in_modes
from tests.recipes import EXACT, LAZY, Recipe

pytestmark = pytest.mark.needs("graphs")

RECIPES = [*EXACT, *LAZY]
of_every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=str)

ROWS = [[2, 2, 0], [1], [0, 1, 2, 3, 4], [], [4, 4]]


class Counted:
    """A step of `recipe` on a table and a vector that counts how often it is traced."""

    def __init__(self, recipe: Recipe, jit: bool, **more):
        self.variables = [keras.Variable(tf.ones((5, 2))), keras.Variable(tf.ones(3))]
        self.optimizer = recipe.make(**more)
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
        self._sparse(
            tf.constant(indices, tf.int32), tf.constant(rows, tf.float32), ONES
        )

    def dense_step(self, value: float) -> None:
        self._dense(tf.fill((5, 2), value), value * ONES)


ONES = tf.ones(3)


@pytest.mark.parametrize(
    ("recipe", "mode"), in_modes(RECIPES, slice(5, None, 4), ["graph", "xla"])
)
def test_a_dense_step_is_traced_once_whatever_its_values_and_learning_rate(
    recipe, mode
):
    counted = Counted(recipe, jit=mode == "xla")
    for value in (1.0, 0.0, -3.0):
        counted.dense_step(value)
    counted.optimizer.learning_rate = 1000.0
    before = counted.variables[1].numpy()
    counted.dense_step(1.0)
    assert np.abs(counted.variables[1].numpy() - before).min() > 10
    assert counted.traces == 1


@of_every_recipe
def test_a_sparse_step_is_traced_once_whatever_rows_it_touches(recipe):
    counted = Counted(recipe, jit=False)
    for indices in ROWS:
        counted.sparse_step(indices)
    assert counted.traces == 1


@pytest.mark.parametrize("recipe", [EXACT[0], EXACT[8], LAZY[-1]], ids=str)
def test_a_compiled_sparse_step_is_traced_once_whatever_rows_it_touches(recipe):
    counted = Counted(recipe, jit=True)
    for indices in ROWS[:2]:
        counted.sparse_step(indices)
    assert counted.traces == 1


@pytest.mark.parametrize(
    "feature",
    [
        {"gradient_accumulation_steps": 2},
        {"use_ema": True, "ema_overwrite_frequency": 2},
        {"loss_scale_factor": 2.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("recipe", LAZY[-1:], ids=str)
def test_a_step_with_a_feature_of_keras_is_traced_once(recipe, feature):
    counted = Counted(recipe, jit=False, **feature)
    for indices in ROWS:
        counted.sparse_step(indices)
    assert counted.traces == 1


@pytest.mark.parametrize(
    "recipe", few([*EXACT[1::4], *LAZY[::2]], slice(0, None, 3)), ids=str
)
def test_fit_traces_its_step_at_its_start_alone(recipe, monkeypatch):
    model = keras.Sequential(
        [keras.layers.Embedding(5, 2), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    optimizer = recipe.make()
    original, applied = optimizer.apply, []

    def apply(*args):
        applied.append(args)
        original(*args)

    monkeypatch.setattr(optimizer, "apply", apply)
    model.compile(optimizer, "mse", jit_compile=False)
    x = np.array([[2, 2, 0], [4, 3, 1]])
    y = np.array([[1.0], [-1.0]])
    counts = []
    for values in (x, x[::-1], 4 - x):
        model.fit(values, y, batch_size=1, epochs=2, verbose=0)
        counts.append(len(applied))
    # Keras itself traces a first fit twice: its metrics come to be in the first trace.
    assert counts == [counts[0]] * 3 and counts[0] <= 2
    assert int(optimizer.iterations) == 12
