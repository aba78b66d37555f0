"""The chapter's network on the chapter's data, trained by one optimizer."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks import training
from benchmarks.boston.data import shipped
from benchmarks.boston.experiments import Experiment
from benchmarks.training import Trainer, Weights

HIDDEN_UNITS = 4


def mlp(dtype: str = "float32") -> Any:
    """Return the chapter's network: 13 inputs as they are, 4 ReLU units, 1 output."""
    return keras.Sequential(
        [
            keras.Input((13,), dtype=dtype),
            keras.layers.Dense(HIDDEN_UNITS, activation="relu", dtype=dtype),
            keras.layers.Dense(1, dtype=dtype),
        ]
    )


def trainer(
    make: Callable[..., Any], dtype: str = "float32", **settings: float
) -> Trainer:
    """Return what trains the network with an optimizer of these settings."""
    split = shipped()
    test = split.x_test.astype(dtype), split.y_test[:, None].astype(dtype)
    return Trainer(mlp(dtype), make(**settings), squared_error, test)


def squared_error(y: Any, prediction: Any) -> Any:
    """Return the mean over the rows, in (1000 $)²."""
    return tf.reduce_mean(tf.square(y - prediction))


def batches(
    experiment: Experiment, seed: int, dtype: str = "float32"
) -> tf.data.Dataset:
    """Return the experiment's batches, the same for every optimizer."""
    split = shipped()
    x, y = split.x_train.astype(dtype), split.y_train[:, None].astype(dtype)
    return training.batches(x, y, experiment.batch_size, experiment.epochs, seed)


def one_ulp_away(weights: Weights) -> Weights:
    """Return the weights with each kernel entry moved to the next float32 above it.

    The biases start at zero, whose neighbour is too small to matter; they stay.
    """
    return [
        np.nextafter(weight, np.float32(np.inf)) if weight.ndim == 2 else weight
        for weight in weights
    ]
