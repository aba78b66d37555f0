"""The monitor's numbers are those of NumPy, and a monitored training is the same."""

import copy
import math
import pickle
from typing import Any

import keras
import numpy as np
import pytest

from keras_textbook_opt import SGD, Adam, Momentum, OptimizerMonitor
from tests import reference
from tests.backends import BACKEND, HAS, MODES_IN_TIME, Sparse, few, numbers
from tests.recipes import Recipe
from tests.same import assert_same
from tests.trainer import Trainer

CLIPS = [{}, {"clipnorm": 2.0}, {"global_clipnorm": 2.5}, {"clipvalue": 1.5}]
needs_fit = pytest.mark.needs("fit")


def acted(clip: dict[str, float], gradients: list[np.ndarray]) -> float:
    """The part of the gradients, or of the one step, that the clip changes."""
    [(name, c)] = clip.items()
    if name == "clipnorm":
        return float(np.mean([reference.norm(g) > c for g in gradients]))
    if name == "global_clipnorm":
        return float(reference.norm(*gradients) > c)
    return float(max(np.abs(g).max() for g in gradients) > c)


def expected_of(steps: list[list[np.ndarray]], clip: dict, rate: float) -> dict:
    norms = [reference.norm(*step) for step in steps]
    found = {
        "grad_norm": np.mean(norms),
        "grad_norm_max": max(norms),
        "learning_rate": rate,
        "nonfinite_steps": 0,
    }
    if clip:
        found["clip_fraction"] = np.mean([acted(clip, step) for step in steps])
    return found


def assert_shows(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=2e-5, err_msg=key)


# A custom loop.

SPECS = (((5, 2), "float32"), ((3,), "float32"))
TABLES = (0,)
ROWS = np.array([3, 0, 3, 1])


def drawn(seed: int, count: int) -> list[list]:
    """Gradients of some steps: rows with repeats, and an array."""
    rng = np.random.default_rng(seed)
    return [
        [Sparse(ROWS, rng.normal(size=(4, 2))), 3 * rng.normal(size=3)]
        for _ in range(count)
    ]


def dense(step: list) -> list[np.ndarray]:
    rows: Sparse = step[0]
    return [reference.densify(*rows, (5, 2)), step[1]]


def shown(loop: Trainer, *steps: list) -> dict[str, float]:
    """The statistics after some more steps."""
    for step in steps:
        loop.step(step)
    return loop.optimizer.statistics.result()


@pytest.mark.parametrize("mode", MODES_IN_TIME)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_statistics_are_those_of_numpy_since_the_last_reset(clip, count, mode):
    """With accumulation they count updates, and the norm is that of the mean."""
    more = {"gradient_accumulation_steps": count} if count > 1 else {}
    recipe = Recipe(Adam, {"monitor": True, **clip, **more})
    loop = Trainer(recipe, mode, SPECS, TABLES)
    steps = drawn(0, 5 * count)
    means = [
        [np.mean(column, axis=0) for column in zip(*map(dense, steps[k : k + count]))]
        for k in range(0, len(steps), count)
    ]
    for taken, expected in (
        (steps[: 2 * count], means[:2]),
        (steps[2 * count :], means[2:]),
    ):
        loop.optimizer.statistics.reset()
        assert_shows(shown(loop, *taken), expected_of(expected, clip, 0.1))


@pytest.mark.parametrize("mode", MODES_IN_TIME)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nonfinite_steps_are_counted_and_spoil_no_mean(bad, mode):
    loop = Trainer(Recipe(SGD, {"monitor": True}), mode, SPECS, TABLES)
    good, broken = drawn(2, 2)
    broken[1][1] = bad
    found = shown(loop, good, broken, good, broken)
    expected = expected_of([dense(good)], {}, 0.1) | {"nonfinite_steps": 2}
    assert_shows(found, expected)
    loop.optimizer.statistics.reset()
    assert math.isnan(shown(loop, broken)["grad_norm"])


def test_an_optimizer_without_a_monitor_has_no_statistics():
    assert SGD().statistics is None


def test_statistics_are_not_saved(tmp_path):
    recipes = [Recipe(Adam, {"monitor": on}) for on in (True, False)]
    loops = [Trainer(recipe, "eager", SPECS) for recipe in recipes]
    stores: list[dict] = []
    for loop in loops:
        for step in drawn(3, 2):
            loop.step(step)
        stores.append({})
        loop.optimizer.save_own_variables(stores[-1])
        if BACKEND == "tensorflow":
            import tensorflow as tf

            checkpoint = tf.train.Checkpoint(optimizer=loop.optimizer)
            written = tf.train.list_variables(checkpoint.write(tmp_path / "saved"))
            stores[-1]["of TensorFlow"] = str(written)
    assert stores[0].keys() == stores[1].keys()
    for key in stores[0]:
        one, other = (np.asarray(store[key]) for store in stores)
        np.testing.assert_array_equal(one, other)
    optimizer = loops[0].optimizer
    for copied in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
        copied.build([keras.Variable(np.ones(s)) for s, _ in SPECS])
        assert copied.statistics is not None
        assert copied.statistics.result()["nonfinite_steps"] == 0


# `fit`.

BATCH, EPOCHS, FEATURES = 4, 2, 3
STEPS = 6  # an epoch
RNG = np.random.default_rng(7)
X = RNG.normal(size=(STEPS * BATCH, FEATURES)).astype("float32")
Y = (X @ np.array([[2.0], [-1], [0.5]]) + 1).astype("float32")


def model_with(optimizer: Any, **compiling: Any) -> keras.Model:
    """A linear model that starts at zero."""
    layer = keras.layers.Dense(1, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((FEATURES,)), layer])
    model.compile(optimizer, "mse", **compiling)
    return model


def fit(model: keras.Model, *callbacks: Any, **more: Any) -> dict[str, list]:
    arguments = {"batch_size": BATCH, "epochs": EPOCHS, "shuffle": False} | more
    fitted = model.fit(X, Y, callbacks=list(callbacks), verbose=0, **arguments)
    return fitted.history


CLIP: dict[str, Any] = {"clipnorm": 2.0}


def by_hand() -> list[list[np.ndarray]]:
    """The gradients of each step of `SGD(0.1, **CLIP)`, in float64."""
    kernel, bias, found = np.zeros((FEATURES, 1)), np.zeros(1), []
    for k in range(EPOCHS * STEPS):
        x, y = (a[k * BATCH % len(X) :][:BATCH].astype(np.float64) for a in (X, Y))
        error = 2 * (x @ kernel + bias - y) / BATCH
        g = [x.T @ error, error.sum(0)]
        found.append(g)
        clipped = [reference.clip_by_norm(x, CLIP["clipnorm"]) for x in g]
        kernel, bias = kernel - 0.1 * clipped[0], bias - 0.1 * clipped[1]
    return found


class Recorder(keras.callbacks.Callback):
    """The logs that a callback behind the monitor gets."""

    def __init__(self):
        super().__init__()
        self.batches: list[dict] = []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append({k: v for k, v in logs.items() if k != "loss"})


WAYS: dict[str, dict[str, Any]] = {"": {}, "eager": {"run_eagerly": True}}
if BACKEND != "torch":
    WAYS |= {"3 steps": {"steps_per_execution": 3}}
if BACKEND == "tensorflow":  # the usual way of JAX
    WAYS |= {"xla": {"jit_compile": True}}


@needs_fit
@pytest.mark.parametrize("way", WAYS)
def test_logs_of_batches_and_epochs_are_those_of_numpy(way):
    model = model_with(SGD(0.1, monitor=True, **CLIP), **WAYS[way])
    recorder, steps = Recorder(), by_hand()
    history = fit(model, OptimizerMonitor(), recorder)
    for epoch in range(EPOCHS):
        found = {k: v[epoch] for k, v in history.items() if k != "loss"}
        taken = steps[epoch * STEPS :][:STEPS]
        assert_shows(found, expected_of(taken, CLIP, 0.1))
    if BACKEND == "jax":
        assert not any(recorder.batches)
        return
    per_call = WAYS[way].get("steps_per_execution", 1)
    for k, logs in enumerate(recorder.batches):  # over the epoch so far
        last = (k + 1) * per_call
        taken = steps[(last - 1) // STEPS * STEPS : last]
        assert_shows(logs, expected_of(taken, CLIP, 0.1))


@needs_fit
def test_the_rate_is_that_of_the_last_step():
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    history = fit(model_with(SGD(rate, monitor=True)), OptimizerMonitor())
    expected = 0.1 * 0.5 ** np.arange(EPOCHS * STEPS)
    shown = history["learning_rate"]
    np.testing.assert_allclose(shown, expected[STEPS - 1 :: STEPS], rtol=1e-5)


MAKERS = {
    "clip": lambda **on: Adam(0.1, clipnorm=0.5, weight_decay=0.1, **on),
    "averages": lambda **on: Momentum(0.1, use_ema=True, clipvalue=0.5, **on),
    "accumulated": lambda **on: Adam(0.1, gradient_accumulation_steps=2, **on),
}


@needs_fit
@pytest.mark.parametrize("maker", few([*MAKERS], slice(2, None)))
def test_a_monitored_training_is_the_same_training_to_the_bit(maker, tmp_path):
    """Also without the callback, and after a save and a load."""
    ended = []
    for on in (True, False):
        model = model_with(MAKERS[maker](monitor=on))
        fit(model, *([OptimizerMonitor()] if on else []), epochs=1)
        model.save_weights(tmp_path / f"{on}.weights.h5")
        fit(model, epochs=1)
        other = model_with(MAKERS[maker](monitor=not on))
        other.load_weights(tmp_path / f"{on}.weights.h5")
        fit(other, epochs=1)
        ended += [[numbers(v) for v in each.variables] for each in (model, other)]
    for values in ended[1:]:
        assert_same(values, ended[0])


@needs_fit
def test_steps_that_a_loss_scale_skips_are_left_out_and_norms_are_unscaled():
    """Nor does a validation disturb the numbers."""
    inner = SGD(0.1, monitor=True, **CLIP)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**10)
    model = model_with(optimizer, run_eagerly=BACKEND != "jax")
    history = fit(model, OptimizerMonitor(), epochs=1, validation_data=(X, Y))
    found = {k: v[0] for k, v in history.items() if "loss" not in k}
    assert_shows(found, expected_of(by_hand()[:STEPS], CLIP, 0.1))
    model.evaluate(X, Y, verbose=0, callbacks=[OptimizerMonitor()])


@needs_fit
def test_a_monitor_needs_an_optimizer_with_monitor_true():
    for make in (SGD, keras.optimizers.SGD):
        model = model_with(make(0.1))
        with pytest.raises(ValueError, match="monitor=True"):
            fit(model, OptimizerMonitor())
        assert set(fit(model)) == {"loss"}


@needs_fit
@pytest.mark.skipif(not HAS & {"graphs", "jax"}, reason="nothing is compiled")
def test_a_monitor_compiles_nothing_for_a_second_time(monkeypatch):
    model = model_with(SGD(0.1, monitor=True))
    compiled = []
    original = model.make_train_function

    def make_train_function(force=False):
        before = model.train_function
        original(force)
        compiled.append(model.train_function is not before)

    monkeypatch.setattr(model, "make_train_function", make_train_function)
    for callbacks in ([], [OptimizerMonitor()], [], [OptimizerMonitor()]):
        fit(model, *callbacks)
    assert compiled == [True, False, False, False]
