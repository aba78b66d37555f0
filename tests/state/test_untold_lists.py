"""On JAX, a list that the optimizer was not told of is refused, and nothing changes.

Keras pairs the model's variables with the optimizer's by position there, and takes the
values out of them before a step: an error in the step would cost the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from keras_textbook_opt import Adam
from tests.backends import BACKEND, numbers
from tests.same import assert_same

pytestmark = pytest.mark.needs("jax")

if BACKEND == "jax":
    import jax

DATA = np.random.default_rng(5).normal(size=(2, 8, 4)).astype("float32")


def new_model(*frozen: int) -> keras.Model:
    layers = [keras.layers.Dense(4, name=f"layer_{k}") for k in range(3)]
    for k in frozen:
        layers[k].trainable = False
    return keras.Sequential([keras.Input((4,)), *layers])


def refrozen(*frozen: int) -> Callable[[keras.Model], keras.Model]:
    def change(model: keras.Model) -> keras.Model:
        for k, layer in enumerate(model.layers):
            layer.trainable = k not in frozen
        return model

    return change


def reordered(model: keras.Model) -> keras.Model:
    return keras.Sequential([keras.Input((4,)), *reversed(model.layers)])


# How the model comes to have another list than the one that the optimizer knows.
CHANGES: dict[str, Callable[[keras.Model], keras.Model]] = {
    "another is frozen": refrozen(2),
    "one more is frozen": refrozen(0, 1),
    "none is frozen": refrozen(),
    "the layers stand in another order": reordered,
    "another model": lambda model: new_model(0),
}


def by_fit(model: keras.Model) -> None:
    model.fit(*DATA, batch_size=4, shuffle=False, verbose=0)


def by_batch(model: keras.Model) -> None:
    model.train_on_batch(*DATA)


def compiled(model: keras.Model, optimizer: Any) -> keras.Model:
    model.compile(optimizer, "mse")
    return model


def values(model: keras.Model, optimizer: Any) -> list[np.ndarray]:
    return [numbers(v) for v in model.variables + optimizer.variables]


@pytest.mark.parametrize("wrapped", [False, True], ids=["", "wrapped"])
@pytest.mark.parametrize("step", [by_fit, by_batch])
@pytest.mark.parametrize("change", CHANGES)
def test_it_is_refused_before_a_step(change: str, step: Callable, wrapped: bool):
    optimizer = Adam(0.01, use_ema=True, ema_momentum=0.5)
    wrapper = keras.optimizers.LossScaleOptimizer(optimizer)
    used = wrapper if wrapped else optimizer
    first = compiled(new_model(0), used)
    by_fit(first)
    model = compiled(CHANGES[change](first), used)
    # The end of a fit, which comes after an error as well, would put averages here.
    model.set_weights([weight + 1 for weight in model.get_weights()])
    before = values(model, used)
    with pytest.raises(ValueError, match=r"add_variables\(model.trainable_variables"):
        step(model)
    assert_same(before, values(model, used), change)


@pytest.mark.parametrize("change", [c for c in CHANGES if c != "another model"])
def test_told_of_it_training_goes_on(change: str):
    optimizer = Adam(0.01)
    first = compiled(new_model(0), optimizer)
    by_fit(first)
    model = compiled(CHANGES[change](first), optimizer)
    with pytest.raises(ValueError, match="add_variables"):
        by_fit(model)
    optimizer.add_variables(model.trainable_variables)
    by_fit(compiled(model, optimizer))
    assert int(optimizer.iterations) == 4


def test_a_wrapper_that_knows_too_few_is_refused_and_a_new_one_goes_on():
    """Keras's wrapper hands on as many gradients as it has variables."""
    optimizer = Adam(0.01)
    used = keras.optimizers.LossScaleOptimizer(optimizer)
    model = compiled(new_model(0), used)
    by_fit(model)
    refrozen()(model)
    optimizer.add_variables(model.trainable_variables)
    before = values(compiled(model, used), used)
    with pytest.raises(ValueError, match=r"model\.optimizer\.inner_optimizer"):
        by_fit(model)
    assert_same(before, values(model, used))
    by_fit(compiled(model, keras.optimizers.LossScaleOptimizer(optimizer)))
    assert int(optimizer.iterations) == 4


class TrainsTheHead(keras.Sequential):
    """A model whose step hands the optimizer what it knows, a part of the list."""

    def train_step(self, state, data):
        trainable, non_trainable, of_optimizer, of_metrics = state
        x, y = data[:2]
        body, head = trainable[:-2], trainable[-2:]

        def loss(head):
            outputs, _ = self.stateless_call([*body, *head], non_trainable, x)
            return keras.ops.mean(keras.ops.square(outputs - y))

        gradients = jax.grad(loss)(head)
        head, of_optimizer = self.optimizer.stateless_apply(
            of_optimizer, gradients, head
        )
        return {}, ([*body, *head], non_trainable, of_optimizer, of_metrics)


def test_a_step_of_ones_own_may_train_a_part():
    model, optimizer = TrainsTheHead([keras.Input((4,)), *new_model().layers]), Adam()
    head = model.layers[-1].trainable_variables
    optimizer.build(head)
    before = list(map(numbers, model.trainable_variables))
    by_fit(compiled(model, optimizer))
    after = list(map(numbers, model.trainable_variables))
    assert_same(after[:-2], before[:-2])
    assert np.any(after[-1] != before[-1])
