"""The tasks: data, a model of any dtype, a loss, and how long it is trained."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, losses

from benchmarks.boston.data import mlp, shipped
from benchmarks.training import Array

TOKENS, LENGTH, LAG = 16, 12, 3
CROSS_ENTROPY = losses.SparseCategoricalCrossentropy(from_logits=True)


@dataclass(frozen=True, eq=False)
class Task:
    """A model and its data. All seeds see the same data, in their own order."""

    name: str
    data: Callable[[], tuple[Array, Array]]
    model: Callable[..., Any]  # of a dtype
    loss: losses.Loss  # computed in float32 in every dtype
    learning_rates: dict[str, float]  # of `Adam`, also for its variants, and `Momentum`
    epochs: int
    batch_size: int = 32

    def learning_rate(self, optimizer: str) -> float:
        return self.learning_rates.get(optimizer, self.learning_rates["Adam"])


def boston() -> tuple[Array, Array]:
    """Return the training rows, each feature with mean 0 and variance 1."""
    split = shipped()
    x = (split.x_train - split.x_train.mean(0)) / split.x_train.std(0)
    return x.astype("float32"), split.y_train[:, None].astype("float32")


def bags() -> tuple[Array, Array]:
    """Return bags of tokens and classes, drawn with the tokens' scores added up."""
    tokens, length, classes = 1000, 16, 4
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(tokens, classes))
    drawn = generator.integers(0, tokens, (8192, length))
    logits = 2 * scores[drawn].sum(1) / np.sqrt(length)
    noise = generator.gumbel(size=logits.shape)
    return drawn.astype("int32"), (logits + noise).argmax(1).astype("int32")


def classifier(dtype: str = "float32") -> Any:
    """Return an embedding, whose gradient is rows, its mean, and a layer over that."""
    embedding = layers.Embedding(1000, 16, dtype=dtype)
    mean = layers.GlobalAveragePooling1D(dtype=dtype)
    last = layers.Dense(4, dtype=dtype)
    return keras.Sequential([keras.Input((16,), dtype="int32"), embedding, mean, last])


def sequences() -> tuple[Array, Array]:
    """Return sequences and their next tokens.

    A token is, up to noise, the successor of the one `LAG` places before it.
    """
    generator = np.random.default_rng(0)
    successor = generator.permutation(TOKENS)
    drawn = generator.integers(0, TOKENS, (1024, LENGTH + 1))
    random = generator.random(drawn.shape) < 0.2
    for t in range(LAG, LENGTH + 1):
        follows = successor[drawn[:, t - LAG]]
        drawn[:, t] = np.where(random[:, t], drawn[:, t], follows)
    drawn = drawn.astype("int32")
    return drawn[:, :-1], drawn[:, 1:]


def transformer(dtype: str = "float32") -> Any:
    """Return a Transformer of one block, each normalisation before its layer."""
    tokens = keras.Input((LENGTH,), dtype="int32")
    places = keras.ops.zeros_like(tokens) + keras.ops.arange(LENGTH)
    x = layers.Embedding(TOKENS, 32, dtype=dtype)(tokens)
    x = layers.Add(dtype=dtype)([x, layers.Embedding(LENGTH, 32, dtype=dtype)(places)])
    normal = layers.LayerNormalization(dtype=dtype)(x)
    attention = layers.MultiHeadAttention(2, 16, dtype=dtype)
    x = layers.Add(dtype=dtype)([x, attention(normal, normal, use_causal_mask=True)])
    hidden = layers.LayerNormalization(dtype=dtype)(x)
    hidden = layers.Dense(128, activation="relu", dtype=dtype)(hidden)
    hidden = layers.Dense(32, dtype=dtype)(hidden)
    x = layers.LayerNormalization(dtype=dtype)(layers.Add(dtype=dtype)([x, hidden]))
    return keras.Model(tokens, layers.Dense(TOKENS, dtype=dtype)(x))


SQUARED, RATES = losses.MeanSquaredError(), {"Adam": 3e-3, "Momentum": 0.1}
TASKS = (
    Task("boston", boston, mlp, SQUARED, {"Adam": 1e-2, "Momentum": 1e-3}, 200),
    Task("embedding", bags, classifier, CROSS_ENTROPY, RATES | {"Momentum": 1}, 10, 64),
    Task("transformer", sequences, transformer, CROSS_ENTROPY, RATES, 15),
)
