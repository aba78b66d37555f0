"""A model on JAX, a layout that splits its variables, and a fit."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tests.workers.cases import IDS, LOOKUPS, ROWS, WIDTH, Case
from tests.workers.results import by_place


def make_model(dtype: str = "float32") -> keras.Model:
    """An embedding and two dense layers, whose variables can be split."""
    keras.utils.set_random_seed(2)
    ids = keras.Input((LOOKUPS,), dtype="int32")
    table = keras.layers.Embedding(
        ROWS, WIDTH, embeddings_initializer="normal", dtype=dtype, name="table"
    )
    x = keras.layers.Flatten(dtype="float32")(table(ids))
    x = keras.layers.Dense(WIDTH, activation="tanh", name="hidden")(x)
    return keras.Model(ids, keras.layers.Dense(1, name="head")(x))


def model_parallel(
    shape: tuple[int, int], devices: list[str]
) -> keras.distribution.ModelParallel:
    """The columns of the table and of the hidden layer, split along `model`."""
    mesh = keras.distribution.DeviceMesh(shape, ["batch", "model"], devices)
    layout = keras.distribution.LayoutMap(mesh)
    layout["table/embeddings"] = (None, "model")
    layout["hidden/kernel"] = (None, "model")
    layout["hidden/bias"] = ("model",)
    return keras.distribution.ModelParallel(
        layout_map=layout, batch_dim_name="batch", auto_shard_dataset=False
    )


def fit(case: Case, x: np.ndarray, y: np.ndarray, *callbacks: Any) -> keras.Model:
    model = make_model(case.table)
    model.compile(case.make_optimizer(), "mse")
    model.fit(
        *(x, y),
        batch_size=len(x) // len(IDS),
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )
    return model


def variables(model: keras.Model) -> dict[str, Any]:
    return by_place(model.variables, model.optimizer, lambda v: v.value)
