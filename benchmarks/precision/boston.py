"""The chapter's MLP on Boston housing, with standardised inputs."""

from typing import Any

import keras

from benchmarks.boston.data import shipped
from benchmarks.boston.train import FEATURES, HIDDEN_UNITS
from benchmarks.precision.tasks import Array, Task


def data() -> tuple[Array, Array]:
    """Return the training rows, each feature with mean 0 and variance 1."""
    split = shipped()
    x = (split.x_train - split.x_train.mean(0)) / split.x_train.std(0)
    return x.astype("float32"), split.y_train[:, None].astype("float32")


def model(dtype: str) -> Any:
    """Return the network 13-4-1."""
    return keras.Sequential(
        [
            keras.Input((FEATURES,), dtype="float32"),
            keras.layers.Dense(HIDDEN_UNITS, activation="relu", dtype=dtype),
            keras.layers.Dense(1, dtype=dtype),
        ]
    )


TASK = Task(
    name="boston",
    title="Boston MLP, standardised inputs",
    data=data,
    model=model,
    loss=keras.losses.MeanSquaredError,
    loss_name="mean squared error",
    unit="(1000 $)²",
    learning_rates={"Adam": 1e-2, "Momentum": 1e-3},
    epochs=200,
)
