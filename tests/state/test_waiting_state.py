"""A state that waits for its variables shows what it has, and bears to be changed.

What a user says in the meantime is what counts afterwards.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.optimizers.schedules import ExponentialDecay

from keras_textbook_opt import Adam, Momentum
from tests.backends import BACKEND, few, few_on_jax, numbers
from tests.same import assert_same

pytestmark = pytest.mark.needs("fit")

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


def state(optimizer: Any) -> list[np.ndarray]:
    return [numbers(variable) for variable in optimizer.variables]


of_every_case = pytest.mark.parametrize("case", CASES, ids="".join)


@of_every_case
def test_it_shows_the_count_of_the_file_and_the_rate_of_a_schedule(case):
    """Whoever derives `initial_epoch` from the count goes on where the file ended."""
    schedule = ExponentialDecay(0.5, 1, 0.5)
    before, waiting = trained(case, schedule)[0], loaded(case, schedule).optimizer
    assert int(numbers(waiting.iterations)) == int(numbers(before.iterations)) > 0
    assert numbers(waiting.learning_rate) == numbers(before.learning_rate) < 0.5
    assert not any(variable.trainable for variable in waiting.variables)


def check_the_rate_that_was_set(case: tuple[str, str], eager: bool) -> None:
    model = loaded(case, eager=eager)
    model.optimizer.learning_rate = 0.0
    before = model.get_weights()
    model.optimizer.build(model.trainable_variables)
    assert float(numbers(model.optimizer.learning_rate)) == 0.0
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
    assert float(numbers(model.optimizer.learning_rate)) == 0.125


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
            variable.assign(numbers(variable) * 2 + 1)
    model.optimizer.build(model.trainable_variables)
    assert_same(state(model.optimizer), state(other.optimizer))
    assert_same(fit(model).get_weights(), fit(other).get_weights())


CHECKS = [
    check_a_reset,
    check_the_rate_that_was_set,
    check_the_rate_of_a_callback,
    check_assignments,
]
EAGER = {"tensorflow": [True, False], "jax": [False]}.get(BACKEND, [True])


@pytest.mark.parametrize("case", few(CASES, slice(1, 2)), ids="".join)
@pytest.mark.parametrize("eager", EAGER)
@pytest.mark.parametrize(
    "check", few_on_jax(CHECKS, slice(0, None, 3)), ids=lambda check: check.__name__[6:]
)
def test_the_later_word_of_the_user_wins(check, case, eager: bool):
    check(case, eager)
