"""A worker of TensorFlow, the model that it trains, and a loop of one's own.

The loop is the same on the workers of a strategy and, under TensorFlow's default
strategy, on one device.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.workers.cases import BATCH, IDS, LOOKUPS, ROWS, STEPS, TARGETS, Case, share
from tests.workers.results import by_place

# It rounds the scalar of a clip once more in some graphs, which are then not the same.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def join(index: int, ports: Sequence[str]) -> tf.distribute.Strategy:
    """Be worker `index` of those that listen on `ports`."""
    workers = [f"localhost:{port}" for port in ports]
    config = {
        "cluster": {"worker": workers},
        "task": {"type": "worker", "index": index},
    }
    os.environ["TF_CONFIG"] = json.dumps(config)
    return tf.distribute.MultiWorkerMirroredStrategy()


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Return when every worker has come here: who goes earlier ends the others."""
    zeros = strategy.run(lambda: tf.zeros(()))
    strategy.reduce("SUM", zeros, axis=None)


def make_model(table: str) -> keras.Model:
    """An embedding of such a dtype, whose gradient is sparse, and two dense layers."""
    keras.utils.set_random_seed(2)
    ids = keras.Input((LOOKUPS,), dtype="int32")
    embedding = keras.layers.Embedding(
        ROWS, 2, embeddings_initializer="normal", dtype=table
    )
    x = keras.layers.Flatten(dtype="float32")(embedding(ids))
    x = keras.layers.Dense(3, activation="tanh")(x)
    return keras.Model(ids, keras.layers.Dense(1)(x))


def made(strategy: tf.distribute.Strategy, case: Case) -> tuple[keras.Model, Any]:
    """A model and its optimizer, which is built."""
    with strategy.scope():
        model, optimizer = make_model(case.table), case.make_optimizer()
        optimizer.build(model.trainable_variables)
    return model, optimizer


def batches(strategy: tf.distribute.Strategy, steps: range) -> list[tuple]:
    """Each worker's share of the batch of each step."""

    def shares(array: np.ndarray) -> Any:
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                share(
                    array,
                    context.replica_id_in_sync_group,
                    context.num_replicas_in_sync,
                )
            )
        )

    places = [step % STEPS for step in steps]
    return [(shares(IDS[k]), shares(TARGETS[k])) for k in places]


def make_step(model: keras.Model, optimizer: Any) -> Any:
    """The function that trains on one replica's share of a batch."""

    def step(ids: Any, targets: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(model(ids) - targets)) / BATCH
            loss = optimizer.scale_loss(loss)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))

    return step


def train(
    strategy: tf.distribute.Strategy, model: keras.Model, optimizer: Any, steps: range
):
    """Train, and yield the number of each step that was taken."""
    step = make_step(model, optimizer)
    on_all = tf.function(lambda *batch: strategy.run(step, batch))
    for number, batch in zip(steps, batches(strategy, steps)):
        on_all(*batch)
        yield number


def values(
    model: keras.Model,
    optimizer: Any,
    read: Callable[[Any], np.ndarray] = lambda variable: variable.numpy(),
) -> dict[str, np.ndarray]:
    """The variables here, and all that the optimizer keeps."""
    return by_place(model.variables, optimizer, lambda v: np.array(read(v)))
