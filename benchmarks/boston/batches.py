"""The batches of a run: the same ones in the same order for every optimizer."""

import numpy as np
import tensorflow as tf

from benchmarks.boston.data import Split


def batches(
    split: Split, batch_size: int | None, epochs: int, seed: int
) -> tf.data.Dataset:
    """Return all batches of all epochs in order; a size of None is all rows."""
    x = split.x_train.astype("float32")
    y = split.y_train.astype("float32")
    if batch_size is None:
        return tf.data.Dataset.from_tensors((x, y)).repeat(epochs)
    rows = shuffled_rows(len(x), batch_size, epochs, seed)
    return (
        tf.data.Dataset.from_tensor_slices(rows)
        .map(lambda epoch: (tf.gather(x, epoch), tf.gather(y, epoch)))
        .unbatch()
        .prefetch(tf.data.AUTOTUNE)
    )


def shuffled_rows(rows: int, batch_size: int, epochs: int, seed: int) -> np.ndarray:
    """Return row numbers of shape (epochs, batches, batch size)."""
    generator = np.random.default_rng(seed)
    whole = rows // batch_size * batch_size
    order = [generator.permutation(rows)[:whole] for _ in range(epochs)]
    return np.stack(order).astype("int32").reshape(epochs, -1, batch_size)
