"""A model trained from start to end in one graph, on the same batches for all."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

Array = npt.NDArray[Any]
Weights = list[Array]


class Run(NamedTuple):
    """The result of one training run."""

    train_losses: Array  # before each step, of shape (epochs, steps of an epoch)
    test_losses: Array  # after each epoch
    weights: Weights  # the last ones


class Trainer:
    """A model and its optimizer, compiled once and trained from the start by call."""

    def __init__(
        self, model: Any, optimizer: Any, loss: Callable, test: tuple[Array, Array]
    ) -> None:
        self._model, self._optimizer, self._loss = model, optimizer, loss
        self._test_x, self._test_y = map(tf.constant, test)
        optimizer.build(model.trainable_variables)
        self._compiled: dict[str, Any] = {}
        self._fresh = [keras.ops.copy(variable) for variable in optimizer.variables]

    def train(
        self, weights: Weights, learning_rate: float, batches: tf.data.Dataset
    ) -> Run:
        """Train from `weights` on what the function `batches` returns."""
        self._model.set_weights(weights)
        for variable, value in zip(self._optimizer.variables, self._fresh, strict=True):
            variable.assign(value)
        self._optimizer.learning_rate = learning_rate
        epochs = len(batches)
        arguments = batches, tf.constant(epochs)
        # TensorFlow warns if many trainers trace their functions by calling them.
        key = str(batches.element_spec)
        if key not in self._compiled:
            function = tf.function(self._epochs, jit_compile=False)
            self._compiled[key] = function.get_concrete_function(*arguments)
        train, test = self._compiled[key](*arguments)
        weights = self._model.get_weights()
        return Run(train.numpy().reshape(epochs, -1), test.numpy(), weights)

    def _epochs(self, batches: Any, epochs: Any) -> Any:
        steps = batches.element_spec[0].shape[0]
        dtype = self._test_loss().dtype
        train, test = (tf.TensorArray(dtype, n) for n in (epochs * steps, epochs))
        iterator = iter(batches)
        for epoch in tf.range(epochs):
            x, y = next(iterator)
            for step in tf.range(steps):
                train = train.write(epoch * steps + step, self._step(x[step], y[step]))
            test = test.write(epoch, self._test_loss())
        return train.stack(), test.stack()

    def _step(self, x: Any, y: Any) -> Any:
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            loss = self._loss(y, self._model(x))
        self._optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def _test_loss(self) -> Any:
        return self._loss(self._test_y, self._model(self._test_x))


def batches(
    x: Array, y: Array, batch_size: int | None, epochs: int, seed: int
) -> tf.data.Dataset:
    """Return a dataset of epochs, each of its batches; a size of None is all rows.

    The seed shuffles the rows of each epoch anew; a last partial batch is dropped.
    """
    if batch_size is None:
        return tf.data.Dataset.from_tensors((x[None], y[None])).repeat(epochs)
    generator = np.random.default_rng(seed)
    whole = len(x) // batch_size * batch_size
    order = [generator.permutation(len(x))[:whole] for _ in range(epochs)]
    rows = np.stack(order).astype("int32").reshape(epochs, -1, batch_size)
    of_epoch = tf.data.Dataset.from_tensor_slices(rows)
    gathered = of_epoch.map(lambda rows: (tf.gather(x, rows), tf.gather(y, rows)))
    return gathered.prefetch(tf.data.AUTOTUNE)


def initial_weights(make_model: Callable[[], Any], seed: int) -> Weights:
    """Return a new model's weights under Keras's default initializers."""
    keras.utils.set_random_seed(seed)
    return make_model().get_weights()
