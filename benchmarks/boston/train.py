"""Training the chapter's network, and whether ours takes the built-in's path.

In float32, two correct optimizers separate: training doubles a difference in the last
digit again and again. In float64, with steps that are short enough, rounding leaves at
most 2e-14 of the loss after these 300 steps, while a clip or a β that is wrong by 1e-9
makes 1e-9 and more. `LIMIT` lies between.

The settings are numbers that float32 represents exactly: the built-ins round theirs to
float32 even where the variables are float64.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import training
from benchmarks.boston.data import mlp, shipped
from benchmarks.boston.experiments import Experiment, read
from benchmarks.figures import BUILTIN, OURS
from benchmarks.training import Array, Run, Trainer, initial_weights

PAIRS = read("same_path.csv")


def trainer(make: Any, dtype: str = "float32", **settings: Any) -> Trainer:
    """Return what trains the network with an optimizer of these settings."""
    split = shipped()
    test = split.x_test.astype(dtype), split.y_test[:, None].astype(dtype)
    return Trainer(mlp(dtype), make(**settings), squared_error, test)


def squared_error(y: Any, prediction: Any) -> Any:
    """Return the mean over the rows, in (1000 $)²."""
    return tf.reduce_mean(tf.square(y - prediction))


def train(trained: Trainer, experiment: Experiment, seed: int, dtype: str) -> Run:
    """Train from a seed's initial weights on its batches, the same for all."""
    split = shipped()
    x, y = split.x_train.astype(dtype), split.y_train[:, None].astype(dtype)
    size, epochs = experiment.batch_size, experiment.epochs
    order = training.batches(x, y, size, epochs, seed)
    return trained.train(initial_weights(mlp, seed), experiment.learning_rate, order)


def difference(pair: Experiment) -> float:
    """Return the largest |a − b| / max(|a|, |b|) of a pair's training losses."""
    a, b = (losses(pair, pair.kind(it)) for it in (OURS, BUILTIN))
    apart = np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))
    return float(np.max(np.nan_to_num(apart, nan=np.inf)))


def losses(pair: Experiment, make: Any) -> Array:
    """Return the training loss of each step, all of it in float64."""
    trained = trainer(make, "float64", **pair.settings)
    return train(trained, pair, 0, "float64").train_losses.ravel()
