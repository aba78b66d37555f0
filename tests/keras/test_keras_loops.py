"""The optimizers in Keras's loops, wrappers and callbacks, and in the chapter's loop.

The oracle is the built-in optimizer in the same place. It is wrong on the repeated rows
of an `Embedding`, so no batch here looks a row up twice.
"""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_textbook_opt import SGD, Momentum
from tests.backends import BACKEND, HAS, LONG, Sparse, few, few_on_jax, numbers
from tests.oracle import Oracle
from tests.recipes import FEW_EXACT as EXACT
from tests.recipes import FEW_LAZY as LAZY

pytestmark = pytest.mark.needs("fit")

if "tensorflow" in HAS:
    import tensorflow as tf

on_tensorflow = pytest.mark.needs("tensorflow")
IDS = np.array([[0, 3], [5, 2], [1, 4], [3, 5]])
TARGETS = np.array([[1.0], [-1.0], [0.5], [2.0]], "float32")


def model_with(optimizer=None, **compiling):
    """An embedding of 6 rows and a dense layer, the same each time."""
    table, dense, output = (
        np.linspace(-1, 1, 18, dtype="float32").reshape(6, 3),
        np.linspace(1, -1, 24, dtype="float32").reshape(6, 4),
        np.linspace(-1, 2, 4, dtype="float32").reshape(4, 1),
    )
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((2,), dtype="int32"),
            layers.Embedding(6, 3, name="embedding"),
            layers.Flatten(),
            layers.Dense(4, activation="relu", name="hidden"),
            layers.Dense(1, name="output"),
        ]
    )
    model.set_weights([table, dense, np.zeros(4), output, np.zeros(1)])
    if optimizer is not None:
        model.compile(optimizer, "mse", **compiling)
    return model


def fit(model, epochs: int = 3, **arguments):
    """Batches of one example, so that no row comes twice in a batch."""
    arguments = {"batch_size": 1, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(IDS, TARGETS, epochs=epochs, **arguments)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("every", [None, 2])
@pytest.mark.parametrize("n", [None, 2])
def test_a_model_that_fit_builds_trains_as_one_that_was_built(n, every, dtype):
    """On TensorFlow, its variables have no values when the optimizer is built."""

    def trained(is_built: bool) -> list:
        layer = keras.layers.Dense(1, kernel_initializer="ones", dtype=dtype)
        model = keras.Sequential([layer])
        if is_built:
            model.build(IDS.shape)
        settings = {"ema_overwrite_frequency": every, "gradient_accumulation_steps": n}
        averaged = Momentum(0.01, use_ema=True, monitor=True, **settings)
        averaged.clipnorm = averaged.weight_decay = 0.1
        model.compile(averaged, "mse")
        fit(model)
        return [numbers(weight).astype("float32") for weight in model.weights]

    for late, early in zip(trained(False), trained(True), strict=True):
        np.testing.assert_array_equal(late, early)


def assert_same_weights(model, other) -> None:
    # 12 steps of a few float32 roundings each, on weights of about 1. The built-in Adam
    # has 1 − β₂ᵗ from float32 powers, which are up to 3e-5 off.
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("recipe", few_on_jax(EXACT, slice(2, None)), ids=str)
def test_fit_trains_as_with_the_built_in(recipe, policy):
    """In mixed precision with the loss scale that Keras puts around an optimizer."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        ours, theirs = model_with(recipe.make()), model_with(recipe.make_keras())
    finally:
        keras.config.set_dtype_policy(before)
    is_scaled = isinstance(ours.optimizer, keras.optimizers.LossScaleOptimizer)
    assert is_scaled == (policy == "mixed_float16")
    losses, expected = (fit(model).history["loss"] for model in (ours, theirs))
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-4)
    assert {v.dtype for v in ours.trainable_variables} == {"float32"}
    assert_same_weights(ours, theirs)


@on_tensorflow
@pytest.mark.parametrize("recipe", few([EXACT[2], *LAZY], slice(1, 2)), ids=str)
def test_the_loop_of_the_chapter_is_right_on_repeated_rows(recipe):
    table = keras.Variable(np.linspace(-1, 1, 18, dtype="float32").reshape(6, 3))
    optimizer, oracle = recipe.make(), Oracle(recipe, [table.numpy()])
    optimizer.build([table])

    @tf.function
    def step(ids, factors):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(factors * tf.gather(table.value, ids))
        gradients = tape.gradient(loss, [table.value])
        optimizer.apply_gradients(zip(gradients, [table], strict=True))

    for ids in ([2, 2, 0], [5, 1, 5], [4, 4, 4]):
        factors = np.arange(1, 10, dtype="float32").reshape(3, 3)
        step(tf.constant(ids), tf.constant(factors))
        oracle.step([Sparse(np.array(ids), factors)])
    np.testing.assert_allclose(table, oracle.variables[0], rtol=2e-5, atol=2e-6)


# Loss scales.


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_step_that_overflows_is_skipped_and_the_scale_halved(bad):
    optimizer = keras.optimizers.LossScaleOptimizer(EXACT[2].make(), 8.0)
    model = model_with(optimizer, run_eagerly=BACKEND != "jax")
    fit(model, epochs=1)
    kept = [*model.variables, *model.optimizer.inner_optimizer.variables]
    before = [numbers(v).tobytes() for v in kept]
    # Not `fit`, which puts averages in place at its end.
    model.train_on_batch(IDS[:1], bad * TARGETS[:1])
    assert [numbers(v).tobytes() for v in kept] == before
    assert float(numbers(model.optimizer.dynamic_scale)) == 4.0
    model.train_on_batch(IDS[:1], TARGETS[:1])
    assert numbers(model.weights[-1]).tobytes() not in before


# Several optimizers, and one for several models.

has_several = pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"),
    reason="Keras 3.12, the last for Python 3.10, has no MultiOptimizer",
)


@has_several
@pytest.mark.needs("tensorflow")
def test_each_optimizer_of_several_updates_its_own_variables():
    def by_layer(table_optimizer, other_optimizer):
        def choose(variable):
            return table_optimizer if "embedding" in variable.path else other_optimizer

        return keras.optimizers.MultiOptimizer(choose)

    tables, others = EXACT[2], EXACT[0]
    ours = model_with(by_layer(tables.make(), others.make()))
    theirs = model_with(by_layer(tables.make_keras(), others.make_keras()))
    fit(ours)
    fit(theirs)
    assert_same_weights(ours, theirs)


@pytest.mark.parametrize("run_eagerly", [False, pytest.param(True, marks=LONG)])
def test_one_optimizer_compiled_into_two_models_is_refused(run_eagerly):
    optimizer = Momentum(0.1)
    first, second = (model_with(optimizer, run_eagerly=run_eagerly) for _ in range(2))
    fit(first)
    before = [numbers(v) for v in (*second.variables, *optimizer.variables)]
    with pytest.raises(ValueError, match="one model"):
        fit(second)
    if BACKEND == "jax":
        return  # values of the same shapes are paired: told at the end of `fit`
    after = [numbers(v) for v in (*second.variables, *optimizer.variables)]
    for a, b in zip(after, before, strict=True):
        np.testing.assert_array_equal(a, b)
    fit(first)


# Configs and callbacks.


@pytest.mark.parametrize("recipe", [*EXACT, *LAZY], ids=str)
@pytest.mark.filterwarnings("ignore:.sparse_update=.lazy.")
def test_an_optimizer_rebuilt_from_its_config_takes_the_same_steps(recipe):
    """Also from JSON with sorted keys."""
    optimizer = recipe.make(weight_decay=0.25, exclude_from_weight_decay=["nothing"])
    config = optimizer.get_config()
    sorted_config = json.loads(json.dumps(config, sort_keys=True))
    twins = [recipe.optimizer.from_config(each) for each in (config, sorted_config)]
    found = []
    for each in (optimizer, *twins):
        assert each.get_config() == config
        θ = keras.Variable(np.ones((4, 2)))
        for k in range(3):
            each.apply([k * np.ones((4, 2), "float32")], [θ])
        found.append(numbers(θ).tobytes())
    assert found[0] == found[1] == found[2]


def test_a_learning_rate_scheduler_sets_the_rate_of_each_epoch():
    rates = [0.125, 0.0625, 0.5]
    ours, theirs = model_with(EXACT[1].make()), model_with(EXACT[1].make_keras())
    for model in (ours, theirs):
        scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, _: rates[epoch])
        history = fit(model, callbacks=[scheduler]).history
        assert history["learning_rate"] == rates
    assert_same_weights(ours, theirs)


@on_tensorflow
def test_a_model_is_exported_after_a_schedule_was_assigned(tmp_path: Path):
    model = model_with(SGD(0.1))
    fit(model, epochs=1)
    model.optimizer.learning_rate = keras.optimizers.schedules.CosineDecay(0.1, 10)
    model.export(tmp_path / "exported", verbose=False)
    tf.saved_model.save(model, tmp_path / "saved")
    tf.train.Checkpoint(optimizer=model.optimizer).save(tmp_path / "c")
    model.save(tmp_path / "model.keras")
