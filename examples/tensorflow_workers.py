"""One worker of many that train a two-tower retrieval model: see supervise.py.

Each user and each item has a row in a table, of which a batch looks up few. `Adam` is
lazy: a step computes and sends only these rows. The workers save after every epoch.
After a restart they resume as if nothing had happened, because the data of a step
depend only on its number.
"""

import hashlib
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf
from keras.losses import sparse_categorical_crossentropy as crossentropy

from keras_textbook_opt import Adam

USERS, ITEMS, TASTES, WIDTH = 2_000, 1_000, 20, 16
BATCH, STEPS, EPOCHS = 128, 50, 6


def tower(rows: int) -> keras.Model:
    layers = [keras.layers.Embedding(rows, WIDTH), keras.layers.Dense(WIDTH)]
    return keras.Sequential([keras.Input((), dtype="int32"), *layers])


def pairs(step: int, worker: int) -> np.ndarray:
    """Users, and for each an item of the same taste: another batch for each worker."""
    random = np.random.default_rng((step, worker))
    tastes = random.integers(TASTES, size=BATCH)
    users = tastes + TASTES * random.integers(USERS // TASTES, size=BATCH)
    items = tastes + TASTES * random.integers(ITEMS // TASTES, size=BATCH)
    return np.stack([users, items]).astype("int32")


def main(folder: Path) -> None:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()  # as TF_CONFIG says
    worker, count = strategy.cluster_resolver.task_id, strategy.num_replicas_in_sync
    keras.utils.set_random_seed(0)
    with strategy.scope():
        users, items = tower(USERS), tower(ITEMS)
        variables = users.trainable_variables + items.trainable_variables
        optimizer = Adam(0.01, sparse_update="lazy", global_clipnorm=1.0)
        optimizer.build(variables)

    def step(batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = users(batch[0]) @ tf.transpose(items(batch[1]))
            losses = crossentropy(tf.range(BATCH), logits, from_logits=True)
            loss = tf.reduce_mean(losses) / count  # the gradients are summed
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    @tf.function
    def train(batch):
        return strategy.reduce("SUM", strategy.run(step, (batch,)), axis=None)

    # Every worker saves in a folder of its own; all restore what the first one saved.
    checkpoint = tf.train.Checkpoint(users=users, items=items, optimizer=optimizer)
    saves = tf.train.CheckpointManager(checkpoint, folder / str(worker), max_to_keep=2)
    checkpoint.restore(tf.train.latest_checkpoint(folder / "0"))
    for epoch in range(int(optimizer.iterations.numpy()) // STEPS, EPOCHS):
        numbers = range(epoch * STEPS, (epoch + 1) * STEPS)
        losses = [float(train(tf.constant(pairs(k, worker)))) for k in numbers]
        saves.save(epoch + 1)
        if worker == 0:
            print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}", flush=True)
    strategy.reduce("SUM", strategy.run(lambda: tf.ones(())), axis=None)  # wait
    if worker == 0:
        weights = b"".join(v.numpy().tobytes() for v in variables)
        print(f"weights {hashlib.sha256(weights).hexdigest()[:16]}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
