"""The chapter's MLP, trained with a loss for every step and every epoch."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.boston.data import Array, Split

FEATURES = 13
HIDDEN_UNITS = 4

Weights = list[Array]


@dataclass(frozen=True)
class Run:
    """What one training run left behind: a loss a step, one an epoch, the weights."""

    train_losses: Array
    test_losses: Array
    weights: Weights


class Trainer:
    """The MLP and one optimizer, trained from the start at every call.

    Compiling costs as much as thousands of steps, so one trainer serves all seeds and
    all learning rates, and a whole run is one call of the graph.
    """

    def __init__(self, optimizer: Any, split: Split, dtype: str = "float32") -> None:
        self._model, self._optimizer = mlp(dtype), optimizer
        self._test = tf.constant(split.x_test, dtype), tf.constant(split.y_test, dtype)
        optimizer.build(self._model.trainable_variables)
        self._fresh = [np.array(variable) for variable in optimizer.variables]

    def train(
        self,
        weights: Weights,
        learning_rate: float,
        batches: tf.data.Dataset,
        epochs: int,
        steps_per_epoch: int,
    ) -> Run:
        """Train from `weights`, with one batch for each step."""
        self._model.set_weights(weights)
        for variable, value in zip(self._optimizer.variables, self._fresh, strict=True):
            variable.assign(value)
        self._optimizer.learning_rate = learning_rate
        steps = tf.constant(epochs * steps_per_epoch)
        train, test = self._steps(batches, steps, tf.constant(steps_per_epoch))
        return Run(train.numpy(), test.numpy(), self._model.get_weights())

    @tf.function(jit_compile=False)
    def _steps(self, batches: Any, steps: Any, steps_per_epoch: Any) -> Any:
        dtype = self._test[0].dtype
        train = tf.TensorArray(dtype, steps)
        test = tf.TensorArray(dtype, steps // steps_per_epoch)
        iterator = iter(batches)
        for step in tf.range(steps):
            x, y = next(iterator)
            train = train.write(step, self._step(tf.cast(x, dtype), tf.cast(y, dtype)))
            if (step + 1) % steps_per_epoch == 0:
                test = test.write(step // steps_per_epoch, self._loss(*self._test))
        return train.stack(), test.stack()

    def _step(self, x: Any, y: Any) -> Any:
        """Return the loss before the step, in (1000 $)²."""
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            loss = self._loss(x, y)
        self._optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def _loss(self, x: Any, y: Any) -> Any:
        return tf.reduce_mean(tf.square(y[:, None] - self._model(x)))


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
