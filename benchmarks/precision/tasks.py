"""The tasks: data, a model of any dtype, a loss, and how long it is trained."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, losses, ops

from benchmarks.boston.data import shipped
from benchmarks.boston.train import mlp
from benchmarks.training import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What to train. All seeds see the same data, in their own order.

    Args:
        data: Returns the inputs and the targets to train on.
        model: Returns the model of a dtype, which is float32 unless it is given.
        loss: The loss; its arithmetic is float32 in every dtype.
        unit: Of the loss.
        learning_rates: Those of `Adam`, also for its variants, and of `Momentum`.
    """

    name: str
    title: str
    data: Callable[[], tuple[Array, Array]]
    model: Callable[..., Any]
    loss: losses.Loss
    unit: str
    learning_rates: dict[str, float]
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
    """Return an embedding, its mean over the bag, and a layer over that.

    Its gradient names the rows that a batch reads.
    """
    return keras.Sequential(
        [
            keras.Input((16,), dtype="int32"),
            layers.Embedding(1000, 16, dtype=dtype),
            layers.GlobalAveragePooling1D(dtype=dtype),
            layers.Dense(4, dtype=dtype),
        ]
    )


def sequences() -> tuple[Array, Array]:
    """Return sequences and their next tokens.

    A token is, up to noise, the successor of the one `lag` places before it.
    """
    tokens, length, lag = 16, 12, 3
    generator = np.random.default_rng(0)
    successor = generator.permutation(tokens)
    drawn = generator.integers(0, tokens, (1024, length + 1))
    random = generator.random(drawn.shape) < 0.2
    for t in range(lag, length + 1):
        follows = successor[drawn[:, t - lag]]
        drawn[:, t] = np.where(random[:, t], drawn[:, t], follows)
    drawn = drawn.astype("int32")
    return drawn[:, :-1], drawn[:, 1:]


class PositionEmbedding(layers.Layer):
    """Adds a vector of its own to each position."""

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(shape=shape[1:], initializer="uniform")

    def call(self, x: Any) -> Any:
        return x + ops.convert_to_tensor(self.table)


def transformer(dtype: str = "float32") -> Any:
    """Return a Transformer of one block, each normalisation before its layer."""
    tokens = keras.Input((12,), dtype="int32")
    x = layers.Embedding(16, 32, dtype=dtype)(tokens)
    x = PositionEmbedding(dtype=dtype)(x)
    normal = layers.LayerNormalization(dtype=dtype)(x)
    attention = layers.MultiHeadAttention(2, 16, dtype=dtype)
    x = layers.Add(dtype=dtype)([x, attention(normal, normal, use_causal_mask=True)])
    hidden = layers.LayerNormalization(dtype=dtype)(x)
    hidden = layers.Dense(128, activation="relu", dtype=dtype)(hidden)
    hidden = layers.Dense(32, dtype=dtype)(hidden)
    x = layers.LayerNormalization(dtype=dtype)(layers.Add(dtype=dtype)([x, hidden]))
    return keras.Model(tokens, layers.Dense(16, dtype=dtype)(x))


CROSS_ENTROPY = losses.SparseCategoricalCrossentropy(True, name="cross-entropy")
TASKS = (
    Task(
        name="boston",
        title="Boston MLP, standardised inputs",
        data=boston,
        model=mlp,
        loss=losses.MeanSquaredError(),
        unit="(1000 $)²",
        learning_rates={"Adam": 1e-2, "Momentum": 1e-3},
        epochs=200,
    ),
    Task(
        name="embedding",
        title="embedding classifier, generated data",
        data=bags,
        model=classifier,
        loss=CROSS_ENTROPY,
        unit="nats",
        learning_rates={"Adam": 3e-3, "Momentum": 1.0},
        epochs=10,
        batch_size=64,
    ),
    Task(
        name="transformer",
        title="small Transformer, generated data",
        data=sequences,
        model=transformer,
        loss=CROSS_ENTROPY,
        unit="nats",
        learning_rates={"Adam": 3e-3, "Momentum": 0.1},
        epochs=15,
    ),
)
