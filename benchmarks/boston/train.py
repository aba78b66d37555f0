"""The chapter's MLP, trained through `model.compile` and `model.fit`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.boston.curves import Curves, FloatArray, mean_squared_error
from benchmarks.boston.data import Split

FEATURES = 13
HIDDEN_UNITS = 4
KERAS_EPOCHS = 10

Weights = list[FloatArray]


@dataclass(frozen=True)
class Run:
    """What one training run left behind."""

    train_losses: FloatArray
    test_losses: FloatArray
    weights: Weights


class Trainer:
    """The MLP compiled with one optimizer, trained from the start at every call.

    Compiling costs as much as thousands of steps, so one trainer serves all seeds and
    all learning rates. One Keras epoch is a tenth of a run, whatever the number of the
    chapter's epochs in it, and a single call of the training function.
    """

    def __init__(
        self, optimizer: Any, split: Split, epochs: int, steps_per_epoch: int
    ) -> None:
        self._optimizer = optimizer
        self._steps = epochs * steps_per_epoch
        self._steps_per_fit_epoch = self._steps // KERAS_EPOCHS
        if self._steps % KERAS_EPOCHS:
            raise ValueError(
                f"`epochs` * `steps_per_epoch` must be a multiple of {KERAS_EPOCHS}. "
                f"Received: epochs={epochs}, steps_per_epoch={steps_per_epoch}"
            )
        self._model = mlp()
        x_test = tf.constant(split.x_test, tf.float32)
        y_test = tf.constant(split.y_test[:, None], tf.float32)
        self._curves = Curves(
            self._steps,
            steps_per_epoch,
            lambda: mean_squared_error(y_test, self._model(x_test)),
        )
        self._model.compile(
            optimizer=optimizer,
            loss="mse",
            metrics=[self._curves],
            steps_per_execution=self._steps_per_fit_epoch,
            jit_compile=False,
        )
        optimizer.build(self._model.trainable_variables)
        self._fresh_state = [np.array(variable) for variable in optimizer.variables]

    def train(
        self,
        weights: Weights,
        learning_rate: float,
        batches: tf.data.Dataset,
        on_steps: Callable[[int], None],
    ) -> Run:
        """Train from `weights`, calling `on_steps` with the steps since its last call.

        Args:
            weights: the initial weights.
            learning_rate: of every step.
            batches: one batch for each step of the run.
            on_steps: called about ten times a run.
        """
        self._restart(weights, learning_rate)
        progress = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: on_steps(self._steps_per_fit_epoch)
        )
        self._model.fit(
            batches,
            epochs=KERAS_EPOCHS,
            steps_per_epoch=self._steps_per_fit_epoch,
            callbacks=[progress],
            shuffle=False,
            verbose=0,
        )
        return Run(self._curves.train, self._curves.test, self._model.get_weights())

    def _restart(self, weights: Weights, learning_rate: float) -> None:
        self._model.set_weights(weights)
        for variable, value in zip(
            self._optimizer.variables, self._fresh_state, strict=True
        ):
            variable.assign(value)
        self._optimizer.learning_rate = learning_rate
        self._curves.rewind()


def mlp(dtype: str = "float32") -> Any:
    """Return the chapter's network: 13 inputs as they are, 4 ReLU units, 1 output."""
    return keras.Sequential(
        [
            keras.Input((FEATURES,), dtype=dtype),
            keras.layers.Dense(HIDDEN_UNITS, activation="relu", dtype=dtype),
            keras.layers.Dense(1, dtype=dtype),
        ]
    )


def initial_weights(seed: int) -> Weights:
    """Return the network's weights under Keras's default initializers."""
    keras.utils.set_random_seed(seed)
    return mlp().get_weights()


def one_ulp_away(weights: Weights) -> Weights:
    """Return the weights with each kernel entry moved to the next float32 above it.

    The biases start at zero, whose neighbour is too small to matter; they stay.
    """
    return [
        np.nextafter(weight, np.float32(np.inf)) if weight.ndim == 2 else weight
        for weight in weights
    ]
