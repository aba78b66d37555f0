"""Whatever happens to a watched training, it is the training that it would have been.

Each history happens to a model with a monitor and to its twin without one, and then:
all they hold is the same to the bit, the next `fit` leaves no record, and the next one
with a monitor a record of each step.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import numpy as np
import pytest

from keras_textbook_opt import SGD, Adam, Momentum
from keras_textbook_opt.callbacks import OptimizerMonitor
from tests.backends import BACKEND, LONG
from tests.same import assert_hold_the_same

pytestmark = pytest.mark.needs("fit")

Make: TypeAlias = Callable[[], Any]
Act: TypeAlias = Callable[[keras.Model, Any], Any]
BATCH, STEPS = 4, 6
RNG = np.random.default_rng(3)
X = RNG.normal(size=(BATCH * STEPS, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)

MAKERS: dict[str, Make] = {
    "a clip and factors": lambda: Adam(
        0.1, clipnorm=0.5, learning_rate_multipliers={"head": 0.5}, weight_decay=0.1
    ),
    "no clip": lambda: SGD(0.01),
    "averages": lambda: Momentum(0.1, use_ema=True, clipvalue=0.5),
    "accumulated": lambda: Adam(
        0.1, global_clipnorm=0.5, gradient_accumulation_steps=2
    ),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(
        Adam(0.1, clipnorm=0.5, gradient_accumulation_steps=2),
        initial_scale=2.0**126,
    ),
}
STEPS_A_CALL = [1] if BACKEND == "torch" else [1, 3]  # where there are no graphs


def new_model(make: Make, steps_a_call: int) -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(2, name="body"), keras.layers.Dense(1, name="head")]
    model = keras.Sequential([keras.Input((3,)), *layers])
    compile_with(model, make(), steps_a_call)
    return model


def compile_with(model: keras.Model, optimizer: Any, steps_a_call: int) -> None:
    model.compile(optimizer, "mse", steps_per_execution=steps_a_call)


def fit(model: keras.Model, *callbacks: Any, **more: Any) -> dict[str, list]:
    arguments = {"batch_size": BATCH, "shuffle": False, "verbose": 0} | more
    return model.fit(X, Y, callbacks=list(callbacks), **arguments).history


class At(keras.callbacks.Callback):
    """Calls `act(model, folder)` once, after the first call of an epoch."""

    def __init__(self, act: Act, folder: Any = None):
        super().__init__()
        self._act, self._folder, self._has_acted = act, folder, False

    def on_train_batch_end(self, batch, logs=None):
        if not self._has_acted:
            self._has_acted = True
            self._act(self.model, self._folder)


class Failure(Exception):
    pass


def fail(model: keras.Model, folder: Any) -> None:
    raise Failure


def stop(model: keras.Model, folder: Any) -> None:
    model.stop_training = True


def evaluate(model: keras.Model, folder: Any) -> None:
    model.evaluate(X, Y, verbose=0)
    model.predict(X, verbose=0)


def train_another(model: keras.Model, folder: Any) -> None:
    other = new_model(lambda: Adam(0.1), 1)
    other.train_on_batch(X, Y)


def save(model: keras.Model, folder: Any) -> None:
    model.save_weights(folder / "saved.weights.h5")


def load(model: keras.Model, folder: Any) -> None:
    model.load_weights(folder / "saved.weights.h5")


def save_and_load(model: keras.Model, folder: Any) -> None:
    save(model, folder)
    fit(model)
    load(model, folder)


def other_factors(model: keras.Model, folder: Any) -> None:
    """Compiled again: the state stays where it is."""
    optimizer, inner = model.optimizer, _inner(model)
    inner.learning_rate_multipliers = {"kernel": 2.0, "bias": 0.0}
    compile_with(model, optimizer, model.steps_per_execution)


def train_on_batch(model: keras.Model, folder: Any) -> None:
    model.train_on_batch(X, Y)


def _inner(model: keras.Model) -> Any:
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


# What happens in a `fit`, and after it.
History: TypeAlias = tuple[Act | None, Act | None]
HISTORIES: dict[str, History] = {
    "it fails, and other factors": (fail, other_factors),
    "it fails, and a load": (fail, save_and_load),
    "it fails, and a batch": (fail, train_on_batch),
    "it fails, and an evaluation": (fail, evaluate),
    "it saves, and loads": (save, load),
    "it stops, and other factors": (stop, other_factors),
    "it evaluates": (evaluate, None),
    "it trains another": (train_another, None),
    "other factors": (None, other_factors),
    "a load": (None, save_and_load),
}
MANY_CALLS = STEPS_A_CALL[-1]
QUICK = [
    ("it fails, and other factors", "a clip and factors", 1),
    ("it saves, and loads", "scaled", MANY_CALLS),
]
if BACKEND == "jax":  # where each `fit` of another kind is a long compilation
    QUICK = [("it saves, and loads", "no clip", 1)]
CASES = [
    pytest.param(*case, marks=[] if case in QUICK else LONG)
    for case in itertools.product(HISTORIES, MAKERS, STEPS_A_CALL)
]


@pytest.mark.parametrize(("history", "maker", "steps_a_call"), CASES)
def test_a_watched_training_goes_on_as_its_twin(history, maker, steps_a_call, tmp_path):
    within, after = HISTORIES[history]
    watched, alone = (new_model(MAKERS[maker], steps_a_call) for _ in range(2))
    monitors = [OptimizerMonitor(), OptimizerMonitor(True, per_variable=True)]
    for model, first in ((watched, monitors[:1]), (alone, [])):
        with contextlib.suppress(Failure):
            fit(model, *first, *([At(within, tmp_path)] if within else []))
        if after:
            after(model, tmp_path)
        assert "grad_norm" not in fit(model)
    assert _inner(watched)._state.watch is None
    assert_hold_the_same(watched, alone)

    before = int(_inner(watched).iterations)
    for monitor in monitors:
        monitor.history.clear()
        fit(watched, monitor)
        fit(alone)
    assert_hold_the_same(watched, alone)
    taken = sum(len(monitor.history["grad_norm"]) for monitor in monitors)
    assert taken == int(_inner(watched).iterations) - before > 0
    assert len(monitors[0].history) == 2 + bool(_has_clip(watched))


def _has_clip(model: keras.Model) -> bool:
    inner = _inner(model)
    return bool(inner.clipnorm or inner.global_clipnorm or inner.clipvalue)


@pytest.mark.parametrize("wrapped", [False, True], ids=["", "scaled"])
@pytest.mark.parametrize("cls", [keras.optimizers.SGD, keras.optimizers.Adam])
def test_an_optimizer_of_keras_is_refused_and_trains_on(cls, wrapped):
    optimizer = cls(0.1)
    if wrapped:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model = new_model(lambda: optimizer, 1)
    with pytest.raises(ValueError, match="optimizer of `keras_textbook_opt`"):
        fit(model, OptimizerMonitor())
    assert "make_train_function" not in vars(model)
    assert set(fit(model)) == {"loss"}


NESTED: dict[str, Act] = {
    "a batch": train_on_batch,
    "a fit": lambda model, folder: fit(model),
}


@pytest.mark.parametrize("nested", NESTED)
def test_a_training_within_is_refused_and_the_next_is_watched(nested):
    """Keras begins both alike: which steps are whose cannot be told."""
    model, monitor = new_model(MAKERS["no clip"], 1), OptimizerMonitor()
    with pytest.raises(ValueError, match="which nothing else trains"):
        fit(model, monitor, At(NESTED[nested]))
    seen = len(monitor.history.get("grad_norm", []))
    assert "grad_norm" not in fit(model)
    fit(model, monitor)
    assert len(monitor.history["grad_norm"]) == seen + STEPS
