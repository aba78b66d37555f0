"""The networks whose training steps are timed, each with batches of random data.

Keras is imported when one is made: a page asks only what they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.steps.batches import zipf
from benchmarks.steps.sizes import TABLE_WIDTH

BATCHES = 16
CLASSES = 10

BOSTON = "Boston MLP"
BOSTON_BATCH = 32

TWO_TOWERS = "two towers"
TOWER_BATCH = 1024
TOWER_UNITS = 64

MOBILENET = "MobileNetV2"
IMAGE_BATCH = 2
IMAGE_SIZE = 32
ALPHA = 1.4

TRANSFORMER = "Transformer encoder"
TEXT_BATCH = 8
WORDS_IN_TEXT = 64
WORDS = 30_000
MODEL_WIDTH = 128
HEADS = 4
ENCODER_LAYERS = 2

TEXTS = {
    BOSTON: f"13 → 4 → 1, batches of {BOSTON_BATCH}",
    TWO_TOWERS: (
        f"two tables of width {TABLE_WIDTH}, each under dense layers of "
        f"{TOWER_UNITS} and {TABLE_WIDTH} units, batches of {TOWER_BATCH:,}, ids by "
        "Zipf's law"
    ),
    MOBILENET: f"α = {ALPHA}, {IMAGE_SIZE}×{IMAGE_SIZE}, batches of {IMAGE_BATCH}",
    TRANSFORMER: (
        f"{WORDS:,} words × {MODEL_WIDTH}, {ENCODER_LAYERS} layers, {HEADS} heads, "
        f"batches of {TEXT_BATCH} texts of {WORDS_IN_TEXT} words by Zipf's law"
    ),
}

Inputs = np.ndarray | tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Network:
    """A network without an optimizer, and what to train it on."""

    make: Callable[[], Any]
    loss: Any
    inputs: Inputs
    targets: np.ndarray
    batch: int
    looks_up: bool = False


def network(name: str, tower_rows: int) -> Network:
    """Return the network of this name."""
    if name == TWO_TOWERS:
        return two_towers(tower_rows)
    return {BOSTON: boston, MOBILENET: mobilenet, TRANSFORMER: transformer}[name]()


def boston() -> Network:
    """The chapter's network on the chapter's data."""
    from benchmarks.boston.data import shipped
    from benchmarks.boston.train import mlp

    split = shipped()
    x, y = (each.astype("float32") for each in (split.x_train, split.y_train))
    return Network(mlp, "mse", x, y[:, None], BOSTON_BATCH)


def two_towers(rows: int) -> Network:
    """A recommender: does this user take that item?"""

    def make() -> Any:
        import keras

        ids = tuple(keras.Input((), dtype="int32") for _ in range(2))
        return keras.Model(ids, keras.layers.Dot(axes=1)(list(map(tower, ids))))

    def tower(ids: Any) -> Any:
        from keras import layers

        x = layers.Embedding(rows, TABLE_WIDTH)(ids)
        x = layers.Dense(TOWER_UNITS, activation="relu")(x)
        return layers.Dense(TABLE_WIDTH)(x)

    generator = np.random.default_rng(0)
    shape = (BATCHES * TOWER_BATCH,)
    ids = (zipf(rows, shape, generator), zipf(rows, shape, generator))
    return _of_ids(make, ids, TOWER_BATCH, generator)


def mobilenet() -> Network:
    import keras

    shape = (IMAGE_SIZE, IMAGE_SIZE, 3)
    architecture = partial(keras.applications.MobileNetV2, shape, ALPHA)
    make = partial(architecture, weights=None, classes=CLASSES)
    loss = keras.losses.SparseCategoricalCrossentropy()
    generator = np.random.default_rng(0)
    images = BATCHES * IMAGE_BATCH
    x = generator.normal(size=(images, *shape)).astype("float32")
    return Network(make, loss, x, generator.integers(0, CLASSES, images), IMAGE_BATCH)


def transformer() -> Network:
    """A classifier of texts."""

    def make() -> Any:
        import keras
        from keras import layers

        words = keras.Input((WORDS_IN_TEXT,), dtype="int32")
        x = layers.Embedding(WORDS, MODEL_WIDTH)(words)
        for _ in range(ENCODER_LAYERS):
            attention = layers.MultiHeadAttention(HEADS, MODEL_WIDTH // HEADS)
            x = layers.LayerNormalization()(x + attention(x, x))
            hidden = layers.Dense(2 * MODEL_WIDTH, activation="relu")(x)
            x = layers.LayerNormalization()(x + layers.Dense(MODEL_WIDTH)(hidden))
        return keras.Model(words, layers.Dense(1)(layers.GlobalAveragePooling1D()(x)))

    generator = np.random.default_rng(0)
    words = zipf(WORDS, (BATCHES * TEXT_BATCH, WORDS_IN_TEXT), generator)
    return _of_ids(make, words, TEXT_BATCH, generator)


def _of_ids(
    make: Callable[[], Any], inputs: Inputs, batch: int, generator: np.random.Generator
) -> Network:
    """Return a network that looks ids up, and says yes or no."""
    import keras

    targets = generator.integers(0, 2, (BATCHES * batch, 1)).astype("float32")
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    return Network(make, loss, inputs, targets, batch, looks_up=True)
