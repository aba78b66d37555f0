"""A classifier of bags of tokens, whose gradient names the rows that a batch reads."""

from typing import Any

import keras
import numpy as np

from benchmarks.precision.tasks import Array, Task

TOKENS = 1000
LENGTH = 16
CLASSES = 4
EXAMPLES = 8192
SHARPNESS = 2.0


def data() -> tuple[Array, Array]:
    """Return bags of tokens and classes, drawn with the tokens' scores added up."""
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(TOKENS, CLASSES))
    tokens = generator.integers(0, TOKENS, (EXAMPLES, LENGTH))
    logits = SHARPNESS * scores[tokens].sum(1) / np.sqrt(LENGTH)
    noise = generator.gumbel(size=logits.shape)
    return tokens.astype("int32"), (logits + noise).argmax(1).astype("int32")


def model(dtype: str) -> Any:
    """Return the embedding, its mean over the bag, and a layer over that."""
    return keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            keras.layers.Embedding(TOKENS, 16, dtype=dtype),
            keras.layers.GlobalAveragePooling1D(dtype=dtype),
            keras.layers.Dense(CLASSES, dtype=dtype),
        ]
    )


def loss() -> Any:
    """Return the cross-entropy of the classes."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


TASK = Task(
    name="embedding",
    title="embedding classifier, generated data",
    data=data,
    model=model,
    loss=loss,
    loss_name="cross-entropy",
    unit="nats",
    learning_rates={"Adam": 3e-3, "Momentum": 1.0},
    epochs=10,
    batch_size=64,
)
