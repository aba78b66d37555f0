"""What a user says while a state waits for its variables is what counts afterwards."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.optimizers.schedules import ExponentialDecay

from keras_textbook_opt import Adam, Momentum

RECIPES: dict[str, Callable[..., Any]] = {
    "Momentum": lambda η: Momentum(η, use_ema=True),
    "Adam": lambda η: Adam(η, amsgrad=True, gradient_accumulation_steps=2),
}
CASES = [("Momentum", ".h5"), ("Adam", ".weights.h5")]
FOLDER = tempfile.TemporaryDirectory()
STEPS = 3  # an odd count, in the middle of an accumulation of two
X, Y = np.random.default_rng(0).normal(size=(2, 4 * STEPS, 3)).astype("float32")


def make_model(optimizer: Any, eager: bool = True) -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(4, name="hidden"), keras.layers.Dense(3, name="head")]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(optimizer, keras.losses.MeanSquaredError(), run_eagerly=eager)
    return model


def fit(model: keras.Model, **arguments: Any) -> keras.Model:
    model.fit(X, Y, batch_size=4, shuffle=False, verbose=0, **arguments)
    return model


@functools.cache
def trained(case: tuple[str, str], η: Any) -> tuple[Any, Path]:
    """An optimizer after some steps, and the file of its model."""
    recipe, suffix = case
    model = fit(make_model(RECIPES[recipe](η)))
    file = Path(FOLDER.name) / f"{recipe}-{type(η).__name__}{suffix}"
    model.save(file) if suffix == ".h5" else model.save_weights(file)
    return model.optimizer, file


def loaded(case: tuple[str, str], η: Any = 0.01, eager: bool = True) -> keras.Model:
    """A model that got the file of the trained one, with an optimizer that waits."""
    recipe, suffix = case
    _, file = trained(case, η)
    if suffix == ".h5":
        model = keras.saving.load_model(file)
        model.run_eagerly = eager
    else:
        model = make_model(RECIPES[recipe](η), eager)
        model.load_weights(file)
    assert not model.optimizer.built
    return model


def value(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable))


def state(optimizer: Any) -> list[np.ndarray]:
    return [value(variable) for variable in optimizer.variables]


def assert_same(given: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def check_what_it_shows(case: tuple[str, str]) -> None:
    """Whoever derives `initial_epoch` from the count goes on where the file ended."""
    schedule = ExponentialDecay(0.5, 1, 0.5)
    before, waiting = trained(case, schedule)[0], loaded(case, schedule).optimizer
    assert int(value(waiting.iterations)) == int(value(before.iterations)) > 0
    assert value(waiting.learning_rate) == value(before.learning_rate) < 0.5
    assert not any(variable.trainable for variable in waiting.variables)


def check_the_rate_that_was_set(case: tuple[str, str], eager: bool) -> None:
    model = loaded(case, eager=eager)
    model.optimizer.learning_rate = 0.0
    before = model.get_weights()
    model.optimizer.build(model.trainable_variables)
    assert float(value(model.optimizer.learning_rate)) == 0.0
    if "Adam" in case:  # an average or a momentum moves on by itself
        assert_same(fit(model).get_weights(), before)


def check_the_rate_of_a_callback(case: tuple[str, str], eager: bool) -> None:
    seen = []

    def rate(epoch: int, current: float) -> float:
        seen.append(current)
        return 0.25 / (1 + epoch)

    model = loaded(case, eager=eager)
    callback = keras.callbacks.LearningRateScheduler(rate)
    fit(model, epochs=2, callbacks=[callback])
    np.testing.assert_array_equal(seen, np.array([0.01, 0.25], np.float32))
    assert float(value(model.optimizer.learning_rate)) == 0.125


def check_a_reset(case: tuple[str, str], eager: bool) -> None:
    """The next fit is that of an optimizer that nothing was loaded into."""
    model, other = loaded(case, eager=eager), loaded(case, eager=eager)
    model.optimizer.reset_state()
    other.compile(RECIPES[case[0]](0.01), other.loss, run_eagerly=eager)
    assert_same(fit(model).get_weights(), fit(other).get_weights())
    assert_same(state(model.optimizer), state(other.optimizer))


def check_assignments(case: tuple[str, str], eager: bool) -> None:
    """Each variable that is shown has a value of its own, and one is found for each."""
    model, other = loaded(case, eager=eager), loaded(case, eager=eager)
    other.optimizer.build(other.trainable_variables)
    for each in (model.optimizer, other.optimizer):
        for variable in each.variables:
            variable.assign(value(variable) * 2 + 1)
    model.optimizer.build(model.trainable_variables)
    assert_same(state(model.optimizer), state(other.optimizer))
    assert_same(fit(model).get_weights(), fit(other).get_weights())


CHECKS = [
    check_the_rate_that_was_set,
    check_the_rate_of_a_callback,
    check_a_reset,
    check_assignments,
]


def check() -> None:
    thorough = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
    for case in CASES:
        check_what_it_shows(case)
    for each in CHECKS if thorough else CHECKS[::3]:
        for case in CASES if thorough else CASES[1:]:
            each(case, eager=keras.backend.backend() == "torch")
