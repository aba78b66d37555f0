"""Loss curves with a point for every step, recorded inside the training graph."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

FloatArray = npt.NDArray[np.float32]


class Curves(keras.metrics.Metric):
    """Record each step's training loss and, after each epoch, the test loss.

    A callback would see neither: with `steps_per_execution`, `fit` comes back to
    Python once in thousands of steps.
    """

    def __init__(
        self, steps: int, steps_per_epoch: int, test_loss: Callable[[], Any]
    ) -> None:
        super().__init__(name="curves")
        self._steps_per_epoch = steps_per_epoch
        self._test_loss = test_loss
        self._step = tf.Variable(0, trainable=False)
        self._train = tf.Variable(tf.zeros(steps), trainable=False)
        self._test = tf.Variable(tf.zeros(steps // steps_per_epoch), trainable=False)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Record one step; `y_pred` is what the model said before its update."""
        loss = mean_squared_error(y_true, y_pred)
        self._train.scatter_update(tf.IndexedSlices(loss, self._step))
        self._step.assign_add(1)
        if self._steps_per_epoch == 1:
            self._record_test_loss()
        else:
            tf.cond(
                tf.equal(self._step % self._steps_per_epoch, 0),
                self._record_test_loss,
                lambda: None,
            )

    def result(self) -> Any:
        """Return the number of steps recorded."""
        return tf.identity(self._step)

    def reset_state(self) -> None:
        """Keep the curves: `fit` calls this at the start of each Keras epoch."""

    def rewind(self) -> None:
        """Start again at the first step."""
        self._step.assign(0)

    @property
    def train(self) -> FloatArray:
        """The training loss of each step."""
        return self._train.numpy()

    @property
    def test(self) -> FloatArray:
        """The test loss after each epoch."""
        return self._test.numpy()

    def _record_test_loss(self) -> None:
        epoch = self._step // self._steps_per_epoch - 1
        self._test.scatter_update(tf.IndexedSlices(self._test_loss(), epoch))


def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    """Return the mean squared error over all rows, in (1000 $)²."""
    return tf.reduce_mean(tf.square(y_true - y_pred))
