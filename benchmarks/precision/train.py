"""One variant of a task, trained through `model.compile` and `model.fit`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from benchmarks.boston.batches import shuffled_rows
from benchmarks.precision.tasks import Array, Task
from benchmarks.precision.variants import Variant

Weights = list[Array]


@dataclass(frozen=True)
class Run:
    """What one training run left behind.

    Args:
        curve: The mean of the batches' losses in each epoch.
        final_loss: Over all training data after the last step, of the weights in a
            model of float32.
        own_loss: The same of the model that was trained, in its dtype.
        moved: The share of the weights that are not what they were at the start.
    """

    curve: tuple[float, ...]
    final_loss: float
    own_loss: float
    moved: float


class Trainer:
    """A variant of a task, compiled once and trained from the start at every call."""

    def __init__(self, task: Task, variant: Variant, data: tuple[Array, Array]) -> None:
        self._task = task
        self._data = data
        self._model = task.model(variant.dtype)
        self._optimizer = variant.optimizer_for(task)
        self._steps = len(data[0]) // task.batch_size
        self._twin = task.model("float32")
        self._twin.compile(loss=task.loss(), jit_compile=False)
        self._model.compile(
            optimizer=self._optimizer,
            loss=task.loss(),
            steps_per_execution=self._steps,
            jit_compile=False,
        )
        self._optimizer.build(self._model.trainable_variables)
        self._fresh = [ops.copy(v) for v in self._optimizer.variables]

    def train(self, seed: int, on_epoch: Callable[[], None]) -> Run:
        """Train from the seed's weights, in the seed's order of the data."""
        start = self._restart(seed)
        progress = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: on_epoch()
        )
        history = self._model.fit(
            self._batches(seed),
            epochs=self._task.epochs,
            steps_per_epoch=self._steps,
            callbacks=[progress],
            shuffle=False,
            verbose=0,
        )
        end = float32_weights(self._model)
        self._twin.set_weights(end)
        return Run(
            curve=tuple(map(float, history.history["loss"])),
            final_loss=self._loss_of(self._twin),
            own_loss=self._loss_of(self._model),
            moved=share_moved(start, end),
        )

    def _restart(self, seed: int) -> Weights:
        for variable, value in zip(
            self._model.weights, initial_weights(self._task, seed), strict=True
        ):
            variable.assign(ops.cast(value, variable.dtype))
        for variable, value in zip(self._optimizer.variables, self._fresh, strict=True):
            variable.assign(value)
        return float32_weights(self._model)

    def _batches(self, seed: int) -> tf.data.Dataset:
        x, y = self._data
        task = self._task
        rows = shuffled_rows(len(x), task.batch_size, task.epochs, seed)
        rows = rows.reshape(-1, task.batch_size)
        return tf.data.Dataset.from_tensor_slices(rows).map(
            lambda batch: (tf.gather(x, batch), tf.gather(y, batch))
        )

    def _loss_of(self, model: Any) -> float:
        x, y = self._data
        return float(self._task.loss()(y, model(x)))


def initial_weights(task: Task, seed: int) -> Weights:
    """Return the seed's weights in float32; a narrower model rounds them."""
    keras.utils.set_random_seed(seed)
    return task.model("float32").get_weights()


def float32_weights(model: Any) -> Weights:
    """Return the weights of a model of any dtype, which float32 holds exactly."""
    return [ops.convert_to_numpy(ops.cast(w, "float32")) for w in model.weights]


def share_moved(start: Weights, end: Weights) -> float:
    """Return the share of the elements that differ."""
    moved = sum(np.count_nonzero(a != b) for a, b in zip(start, end, strict=True))
    return float(moved / sum(a.size for a in start))
