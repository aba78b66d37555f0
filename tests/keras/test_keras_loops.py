"""The optimizers inside Keras's loops, wrappers and callbacks, and the chapter's loop.

The oracle is the built-in optimizer in the same place. It is wrong on the repeated rows
of an `Embedding`, so no batch here looks a row up twice.
"""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_textbook_opt import SGD, Adam, Momentum
from tests.backends import Sparse, few
from tests.oracle import Oracle
from tests.recipes import FEW_EXACT as EXACT
from tests.recipes import FEW_LAZY as LAZY
from tests.recipes import Recipe

pytestmark = pytest.mark.needs("tensorflow")

of_every_recipe = pytest.mark.parametrize("recipe", [*EXACT, *LAZY], ids=str)
of_exact_recipes = pytest.mark.parametrize("recipe", EXACT, ids=str)
of_both_modes = pytest.mark.parametrize("mode", ["eager", "graph"])

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


@functools.cache
def trained_by_keras(recipe: Recipe):
    """A model after a fit with the built-in, and the losses of its epochs."""
    model = model_with(recipe.make_keras())
    return model, fit(model).history["loss"]


def slices(values, rows, shape):
    """As the gradient of an embedding comes: Keras's loss scaling wants the shape."""
    return tf.IndexedSlices(
        tf.convert_to_tensor(values), tf.constant(rows), tf.constant(shape, "int32")
    )


def assert_same_weights(model, other) -> None:
    # 12 steps of a few float32 roundings each, on weights of about 1. The built-in Adam
    # has 1 − β₂ᵗ from float32 powers, which are up to 3e-5 off.
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)


@of_exact_recipes
def test_fit_trains_as_with_the_built_in(recipe):
    ours, (theirs, losses) = model_with(recipe.make()), trained_by_keras(recipe)
    np.testing.assert_allclose(fit(ours).history["loss"], losses, rtol=1e-4, atol=1e-4)
    assert_same_weights(ours, theirs)


@pytest.mark.parametrize(
    "compiling", [{"run_eagerly": True}, {"steps_per_execution": 4}], ids=str
)
def test_fit_trains_the_same_however_it_is_compiled(compiling):
    recipe = LAZY[1]
    ours, plain = model_with(recipe.make(), **compiling), model_with(recipe.make())
    fit(ours)
    fit(plain)
    assert int(ours.optimizer.iterations) == 12
    assert_same_weights(ours, plain)


def chapter_step(model, optimizer):
    """The loop of the chapter: a tape, its gradients, and `apply_gradients`."""

    def step(ids, targets):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(ids, training=True) - targets))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(
            zip(gradients, model.trainable_variables, strict=True)
        )
        return loss

    return step


@of_both_modes
@of_exact_recipes
def test_the_loop_of_the_chapter(recipe, mode):
    ours, (theirs, _) = model_with(), trained_by_keras(recipe)
    optimizer = recipe.make()
    step = chapter_step(ours, optimizer)
    step = tf.function(step) if mode == "graph" else step
    for _ in range(3):
        for ids, target in zip(IDS, TARGETS, strict=True):
            step(tf.constant(ids[None]), tf.constant(target[None]))
    assert_same_weights(ours, theirs)
    assert int(optimizer.iterations) == 12


@of_both_modes
@of_every_recipe
def test_the_loop_of_the_chapter_on_repeated_rows(recipe, mode):
    table = keras.Variable(np.linspace(-1, 1, 18, dtype="float32").reshape(6, 3))
    optimizer, oracle = recipe.make(), Oracle(recipe, [table.numpy()])
    optimizer.build([table])

    def step(ids, factors):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(factors * tf.gather(table.value, ids))
        gradients = tape.gradient(loss, [table.value])
        optimizer.apply_gradients(zip(gradients, [table], strict=True))

    step = tf.function(step) if mode == "graph" else step
    for ids in ([2, 2, 0], [5, 1, 5], [4, 4, 4]):
        factors = np.arange(1, 10, dtype="float32").reshape(3, 3)
        step(tf.constant(ids), tf.constant(factors))
        oracle.step([Sparse(np.array(ids), factors)])
    # 3 steps of a few float32 roundings each, on values and steps of about 1.
    np.testing.assert_allclose(table, oracle.variables[0], rtol=2e-5, atol=2e-6)


@of_every_recipe
def test_loss_scaling_takes_its_scale_out_again(recipe):
    table, vector = np.ones((6, 2), "float32"), np.ones(3, "float32")
    variables = [keras.Variable(table), keras.Variable(vector)]
    optimizer = keras.optimizers.LossScaleOptimizer(recipe.make(), initial_scale=8.0)
    oracle = Oracle(recipe, [table, vector])
    for rows in ([2, 2, 0], [1, 5, 1]):
        values = np.arange(1, 7, dtype="float32").reshape(3, 2)
        step = [Sparse(np.array(rows), values), vector]
        optimizer.apply([slices(8 * values, rows, (6, 2)), 8 * vector], variables)
        oracle.step(step)
    for variable, expected in zip(variables, oracle.variables, strict=True):
        # 2 steps of a few float32 roundings each, on values and steps of about 1.
        np.testing.assert_allclose(variable, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    "mode, scales",
    [("eager", (np.inf, 1)), ("eager", (1, np.nan)), ("graph", (np.nan, 1))],
    ids=str,
)
@of_every_recipe
def test_a_step_that_overflows_is_skipped_and_the_scale_halved(recipe, mode, scales):
    variables = [keras.Variable(tf.ones((6, 2))), keras.Variable(tf.ones(3))]
    optimizer = keras.optimizers.LossScaleOptimizer(recipe.make(), initial_scale=8.0)
    optimizer.build(variables)

    def step(of_row, of_vector):
        row = of_row * tf.ones((1, 2))
        gradients = [slices(row, [4], (6, 2)), of_vector * tf.ones(3)]
        optimizer.apply(gradients, variables)

    step = tf.function(step) if mode == "graph" else step
    one = tf.constant(1.0)
    step(one, one)
    kept = [*variables, *optimizer.inner_optimizer.variables]
    before = [v.numpy().tobytes() for v in kept]
    step(*(one * scale for scale in scales))
    assert [v.numpy().tobytes() for v in kept] == before
    assert float(optimizer.dynamic_scale) == 4.0
    step(one, one)
    after = [v.numpy().tobytes() for v in variables]
    assert all(a != b for a, b in zip(after, before, strict=False))


@pytest.fixture
def mixed_float16():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(policy)


@pytest.mark.parametrize("recipe", few(EXACT, slice(2, None)), ids=str)
def test_mixed_float16_trains_as_with_the_built_in(recipe, mixed_float16):
    ours, theirs = model_with(recipe.make()), model_with(recipe.make_keras())
    assert isinstance(ours.optimizer, keras.optimizers.LossScaleOptimizer)
    fit(ours)
    fit(theirs)
    assert {v.dtype for v in ours.trainable_variables} == {"float32"}
    assert_same_weights(ours, theirs)


def by_layer(table_optimizer, other_optimizer):
    def choose(variable):
        return table_optimizer if "embedding" in variable.path else other_optimizer

    return keras.optimizers.MultiOptimizer(choose)


has_several = pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"),
    reason="Keras 3.12, the last for Python 3.10, has no MultiOptimizer",
)


@has_several
def test_each_optimizer_of_several_takes_its_own_variables():
    tables, others = EXACT[2], EXACT[0]
    ours = model_with(by_layer(tables.make(), others.make()))
    theirs = model_with(by_layer(tables.make_keras(), others.make_keras()))
    fit(ours)
    fit(theirs)
    assert_same_weights(ours, theirs)
    table, other = ours.optimizer.optimizers
    assert [v.name for v in table._trainable_variables] == ["embeddings"]
    assert len(other._trainable_variables) == 4


@has_several
def test_several_optimizers_share_a_loss_scale_factor():
    variables = [keras.Variable(tf.ones((4, 2)), name=n) for n in ("embedding", "rest")]
    chosen = by_layer(Momentum(0.5, sparse_update="lazy"), SGD(0.25))
    chosen.loss_scale_factor = 4.0
    rows = tf.IndexedSlices(tf.fill((1, 2), 4.0), tf.constant([1]))
    chosen.apply([rows, tf.fill((4, 2), 4.0)], variables)
    np.testing.assert_array_equal(variables[0][1], [0.5, 0.5])
    np.testing.assert_array_equal(variables[0][2], [1.0, 1.0])
    np.testing.assert_array_equal(variables[1], np.full((4, 2), 0.75))


@of_every_recipe
def test_an_optimizer_rebuilt_from_its_config_steps_the_same(recipe):
    optimizer = recipe.make(weight_decay=0.25)
    config = optimizer.get_config()
    twin = recipe.optimizer.from_config(config)
    assert config == optimizer.get_config() == twin.get_config()
    variables = [[keras.Variable(tf.ones((4, 2)))] for _ in range(2)]
    for each, on in zip((optimizer, twin), variables, strict=True):
        for row in (1, 3, 1):
            slices = tf.IndexedSlices(tf.constant([[1.0, -2.0]]), tf.constant([row]))
            each.apply([slices], on)
    assert variables[0][0].numpy().tobytes() == variables[1][0].numpy().tobytes()


@pytest.mark.parametrize("cls", [SGD, Momentum, Adam])
def test_a_config_can_be_changed_before_an_optimizer_is_built_from_it(cls):
    config = cls(0.5, clipnorm=2.0).get_config()
    changed = cls.from_config({**config, "learning_rate": 0.25, "clipnorm": None})
    assert float(changed.learning_rate) == 0.25
    assert changed.clipnorm is None
    with pytest.raises(ValueError, match=r"`learning_rate` must be"):
        cls.from_config({**config, "learning_rate": -0.25})


def test_a_learning_rate_scheduler_sets_the_rate_of_each_epoch():
    rates = [0.125, 0.0625, 0.5]
    recipe = EXACT[1]
    ours, theirs = model_with(recipe.make()), model_with(recipe.make_keras())
    for model in (ours, theirs):
        scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, _: rates[epoch])
        history = fit(model, callbacks=[scheduler]).history
        assert history["learning_rate"] == rates
    assert_same_weights(ours, theirs)


def test_the_rate_is_reduced_on_a_plateau():
    model = model_with(SGD(0.5))
    nothing_is_better = {"min_delta": 1e9, "patience": 1, "factor": 0.5}
    plateau = keras.callbacks.ReduceLROnPlateau("loss", **nothing_is_better)
    history = fit(model, epochs=3, callbacks=[plateau]).history
    assert [float(rate) for rate in history["learning_rate"]] == [0.5, 0.5, 0.25]
    assert float(model.optimizer.learning_rate) == 0.125


def test_fit_puts_the_average_in_place_at_its_end_and_goes_on_from_there():
    recipe = Recipe(Adam, {"use_ema": True, "ema_momentum": 0.75})
    ours, theirs = model_with(recipe.make()), model_with(recipe.make_keras())
    for model in (ours, theirs):
        fit(model, epochs=2)
        fit(model, epochs=1)
    assert_same_weights(ours, theirs)


def test_train_on_batch_takes_one_step():
    recipe = EXACT[2]
    ours, theirs = model_with(recipe.make()), model_with(recipe.make_keras())
    for model in (ours, theirs):
        for ids, target in zip(IDS, TARGETS, strict=True):
            model.train_on_batch(ids[None], target[None])
    assert_same_weights(ours, theirs)
    assert int(ours.optimizer.iterations) == 4
