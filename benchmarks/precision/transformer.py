"""A Transformer with one block, which predicts the next token of a sequence."""

from typing import Any

import keras
import numpy as np
from keras import ops

from benchmarks.precision.tasks import Array, Task

TOKENS = 16
LENGTH = 12
LAG = 3
EXAMPLES = 1024
WIDTH = 32
HEADS = 2
NOISE = 0.2


def data() -> tuple[Array, Array]:
    """Return sequences and their next tokens.

    A token is, up to noise, the successor of the one `LAG` places before it.
    """
    generator = np.random.default_rng(0)
    successor = generator.permutation(TOKENS)
    tokens = generator.integers(0, TOKENS, (EXAMPLES, LENGTH + 1))
    random = generator.random(tokens.shape) < NOISE
    for t in range(LAG, LENGTH + 1):
        follows = successor[tokens[:, t - LAG]]
        tokens[:, t] = np.where(random[:, t], tokens[:, t], follows)
    tokens = tokens.astype("int32")
    return tokens[:, :-1], tokens[:, 1:]


@keras.saving.register_keras_serializable("benchmarks")
class PositionEmbedding(keras.layers.Layer):
    """Adds a vector of its own to each position."""

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(shape=shape[1:], initializer="uniform")

    def call(self, x: Any) -> Any:
        return x + ops.convert_to_tensor(self.table)


def model(dtype: str) -> Any:
    """Return the Transformer, each normalisation before its layer."""
    layers = keras.layers
    tokens = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(TOKENS, WIDTH, dtype=dtype)(tokens)
    x = PositionEmbedding(dtype=dtype)(x)
    normal = layers.LayerNormalization(dtype=dtype)(x)
    attention = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, dtype=dtype)
    x = layers.Add(dtype=dtype)([x, attention(normal, normal, use_causal_mask=True)])
    hidden = layers.LayerNormalization(dtype=dtype)(x)
    hidden = layers.Dense(4 * WIDTH, activation="relu", dtype=dtype)(hidden)
    hidden = layers.Dense(WIDTH, dtype=dtype)(hidden)
    x = layers.LayerNormalization(dtype=dtype)(layers.Add(dtype=dtype)([x, hidden]))
    return keras.Model(tokens, layers.Dense(TOKENS, dtype=dtype)(x))


def loss() -> Any:
    """Return the cross-entropy of the next token."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


TASK = Task(
    name="transformer",
    title="small Transformer, generated data",
    data=data,
    model=model,
    loss=loss,
    loss_name="cross-entropy",
    unit="nats",
    learning_rates={"Adam": 3e-3, "Momentum": 0.1},
    epochs=15,
)
