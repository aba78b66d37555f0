"""A model on JAX, and a layout that splits its variables."""

from __future__ import annotations

import keras

from tests.workers.cases import LOOKUPS, ROWS

WIDTH = 4


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
