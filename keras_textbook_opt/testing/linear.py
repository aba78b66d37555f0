"""Two linear layers below a squared error, with gradients written by hand."""

from __future__ import annotations

from typing import Any, final

import keras
import numpy as np

from keras_textbook_opt.testing import backend, problem

LAYERS = {"kernel_1": (4, 3), "bias_1": (3,), "kernel_2": (3, 2), "bias_2": (2,)}
BATCHES, SIZE = 4, 4
# Not "mse": the loader of .h5 files takes that for a metric and fails.
SQUARED = keras.losses.MeanSquaredError()


@final
class LinearModel:
    """`y = (x·W₁ + b₁)·W₂ + b₂`, trained by `fit` on four batches."""

    def __init__(self) -> None:
        random = np.random.default_rng(5)
        self._x = random.normal(size=(BATCHES * SIZE, 4)).astype("float32")
        self._y = random.normal(size=(BATCHES * SIZE, 2)).astype("float32")
        self.values = problem.values(LAYERS)
        self.names = list(LAYERS)
        first = keras.layers.Dense(3, name="first")
        second = keras.layers.Dense(2, name="second")
        self.model = keras.Sequential([keras.Input((4,)), first, second])
        self.model.set_weights(self.values)
        self._is_compiled = False

    @property
    def batches(self) -> list[slice]:
        """Where the batches are in the data, in their order."""
        return [slice(k * SIZE, (k + 1) * SIZE) for k in range(BATCHES)]

    @property
    def numbers(self) -> list[np.ndarray]:
        """The weights as they are now."""
        return [np.array(weights) for weights in self.model.get_weights()]

    def fit(self, optimizer: Any) -> LinearModel:
        """One epoch."""
        backend.require("fit")
        if not self._is_compiled:
            self.model.compile(optimizer=optimizer, loss=SQUARED)
            self._is_compiled = True
        self.model.fit(
            self._x, self._y, batch_size=SIZE, epochs=1, shuffle=False, verbose=0
        )
        return self

    def freeze_the_first(self) -> None:
        """Freeze the first layer; the next `fit` compiles with the same optimizer."""
        self.model.layers[0].trainable = False
        self._is_compiled = False

    def gradients(self, weights: list[np.ndarray], batch: slice) -> list[np.ndarray]:
        """The gradients of the mean squared error, in float64."""
        W_1, b_1, W_2, b_2 = (w.astype("float64") for w in weights)
        x, y = self._x[batch].astype("float64"), self._y[batch]
        h = x @ W_1 + b_1
        dy = 2 * (h @ W_2 + b_2 - y) / y.size
        dh = dy @ W_2.T
        return [x.T @ dh, dh.sum(axis=0), h.T @ dy, dy.sum(axis=0)]


def model_of(optimizer: Any) -> keras.Model:
    """The two layers, compiled with `optimizer`."""
    made = LinearModel().model
    made.compile(optimizer=optimizer, loss=SQUARED)
    return made


def train(model: keras.Model, steps: list[list]) -> None:
    """Take these steps with the model's optimizer."""
    variables = model.trainable_variables
    step = backend.cheapest(model.optimizer, variables)
    for gradients in steps:
        step(backend.tensors(gradients, variables))


def rebuilt(optimizer: Any) -> Any:
    """A new optimizer with the same config."""
    return type(optimizer).from_config(optimizer.get_config())


def serializable(optimizer: Any) -> Any:
    """A scope in which Keras finds the optimizer's class, registered or not."""
    kind = type(optimizer)
    return keras.saving.custom_object_scope({kind.__name__: kind})
