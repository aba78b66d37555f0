"""One model, its batches in a fixed order, and the weights after each of them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import keras_textbook_opt
from tests.programs.learning_rates import LEARNING_RATES
from tests.programs.round_trip_recipes import Recipe

STEPS, BATCH = 5, 4
_random = np.random.default_rng(20)
IDS = _random.integers(0, 9, (STEPS * BATCH, 3)).astype("int32")
TARGETS = _random.normal(size=(STEPS * BATCH, 1)).astype("float32")


def make_model() -> keras.Model:
    """An embedding, whose gradient is sparse, and two dense layers."""
    ids = keras.Input((3,), dtype="int32")
    x = keras.layers.Embedding(12, 2, name="table")(ids)
    x = keras.layers.Flatten(name="flat")(x)
    x = keras.layers.Dense(3, activation="tanh", name="hidden")(x)
    return keras.Model(ids, keras.layers.Dense(1, name="head")(x))


def make_optimizer(recipe: Recipe, model: keras.Model, without: str = ""):
    """The recipe's optimizer for `model`, but for one argument left at its default."""
    arguments: dict[str, Any] = dict(recipe.arguments)
    rate = recipe.learning_rate
    arguments["learning_rate"] = (
        LEARNING_RATES[rate]() if isinstance(rate, str) else rate
    )
    arguments.pop(without, None)
    optimizer = getattr(keras_textbook_opt, recipe.optimizer)(**arguments)
    if recipe.excludes and without != "exclude_from_weight_decay":
        variables = [v for v in model.variables if v.path in recipe.undecayed]
        optimizer.exclude_from_weight_decay(variables, list(recipe.undecayed_names))
    return optimizer


def compiled_model(recipe: Recipe) -> keras.Model:
    model = make_model()
    model.compile(make_optimizer(recipe, model), "mse", run_eagerly=recipe.run_eagerly)
    return model


def flat(weights: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([w.ravel() for w in weights])


class Recorder(keras.callbacks.Callback):
    """The weights after each step and, last, after the end of the training."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[np.ndarray] = []

    def on_train_batch_end(self, batch, logs=None) -> None:
        self._record()

    def on_train_end(self, logs=None) -> None:
        self._record()

    def _record(self) -> None:
        self.weights.append(flat(self.model.get_weights()))


def train(
    model: keras.Model, first_epoch: int, last_epoch: int, *callbacks
) -> np.ndarray:
    """Train for `STEPS` steps an epoch; the weights after each step, and at the end."""
    recorder = Recorder()
    model.fit(
        IDS,
        TARGETS,
        batch_size=BATCH,
        initial_epoch=first_epoch,
        epochs=last_epoch,
        shuffle=False,
        verbose=0,
        callbacks=[recorder, *callbacks],
    )
    return np.stack(recorder.weights)
