"""The networks whose training steps are timed, each with batches of random data."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks.boston.data import shipped
from benchmarks.boston.train import mlp
from benchmarks.steps.plans import (
    BOSTON,
    MOBILENET,
    TABLE_WIDTH,
    TRANSFORMER,
    TWO_TOWERS,
    Plan,
)
from benchmarks.steps.updates import zipf

BATCHES = 16
BOSTON_BATCH = 32
TOWER_BATCH = 1024
TOWER_UNITS = 64
IMAGE_BATCH = 32
IMAGE_SIZE = 64
CLASSES = 10
WORDS = 30_000
WORDS_IN_TEXT = 64
TEXT_BATCH = 32
MODEL_WIDTH = 128
HEADS = 4
ENCODER_LAYERS = 2

Inputs = np.ndarray | tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Network:
    """A network without an optimizer, and what to train it on.

    `lookups` are the ids that are looked up in each embedding table.
    """

    make: Callable[[], Any]
    loss: Any
    inputs: Inputs
    targets: np.ndarray
    batch: int
    lookups: tuple[np.ndarray, ...]


def networks(plan: Plan) -> dict[str, Callable[[], Network]]:
    """Return what makes each network; the keys are the names in a plan."""
    return {
        BOSTON: boston,
        TWO_TOWERS: partial(two_towers, plan.tower_rows),
        MOBILENET: mobilenet,
        TRANSFORMER: transformer,
    }


DESCRIPTIONS = {
    BOSTON: f"13 → 4 → 1, batches of {BOSTON_BATCH}",
    TWO_TOWERS: (
        f"two tables of width {TABLE_WIDTH}, each under dense layers of "
        f"{TOWER_UNITS} and {TABLE_WIDTH} units, batches of {TOWER_BATCH:,}, ids by "
        "Zipf's law"
    ),
    MOBILENET: f"{IMAGE_SIZE}×{IMAGE_SIZE}, batches of {IMAGE_BATCH}",
    TRANSFORMER: (
        f"{WORDS:,} words × {MODEL_WIDTH}, {ENCODER_LAYERS} layers, {HEADS} heads, "
        f"batches of {TEXT_BATCH} texts of {WORDS_IN_TEXT} words by Zipf's law"
    ),
}


def boston() -> Network:
    """The chapter's network on the chapter's data."""
    split = shipped()
    return Network(
        make=mlp,
        loss="mse",
        inputs=split.x_train.astype("float32"),
        targets=split.y_train.astype("float32")[:, None],
        batch=BOSTON_BATCH,
        lookups=(),
    )


def two_towers(rows: int) -> Network:
    """A recommender: does this user take that item?"""
    generator = np.random.default_rng(0)
    shape = (BATCHES * TOWER_BATCH,)
    users, items = (zipf(rows, shape, generator) for _ in range(2))
    return Network(
        make=partial(_two_towers, rows),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        inputs=(users, items),
        targets=generator.integers(0, 2, (len(users), 1)).astype("float32"),
        batch=TOWER_BATCH,
        lookups=(users, items),
    )


def mobilenet() -> Network:
    generator = np.random.default_rng(0)
    images = BATCHES * IMAGE_BATCH
    shape = (images, IMAGE_SIZE, IMAGE_SIZE, 3)
    return Network(
        make=_mobilenet,
        loss=keras.losses.SparseCategoricalCrossentropy(),
        inputs=generator.normal(size=shape).astype("float32"),
        targets=generator.integers(0, CLASSES, images),
        batch=IMAGE_BATCH,
        lookups=(),
    )


def transformer() -> Network:
    """A classifier of texts."""
    generator = np.random.default_rng(0)
    texts = BATCHES * TEXT_BATCH
    words = zipf(WORDS, (texts, WORDS_IN_TEXT), generator)
    return Network(
        make=_transformer,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        inputs=words,
        targets=generator.integers(0, 2, (texts, 1)).astype("float32"),
        batch=TEXT_BATCH,
        lookups=(words,),
    )


def _two_towers(rows: int) -> Any:
    user, item = (keras.Input((), dtype="int32") for _ in range(2))
    match = layers.Dot(axes=1)([_tower(rows, user), _tower(rows, item)])
    return keras.Model((user, item), match)


def _tower(rows: int, ids: Any) -> Any:
    x = layers.Embedding(rows, TABLE_WIDTH)(ids)
    x = layers.Dense(TOWER_UNITS, activation="relu")(x)
    return layers.Dense(TABLE_WIDTH)(x)


def _mobilenet() -> Any:
    return keras.applications.MobileNetV2(
        input_shape=(IMAGE_SIZE, IMAGE_SIZE, 3), weights=None, classes=CLASSES
    )


def _transformer() -> Any:
    words = keras.Input((WORDS_IN_TEXT,), dtype="int32")
    x = layers.Embedding(WORDS, MODEL_WIDTH)(words)
    for _ in range(ENCODER_LAYERS):
        x = _encoder_layer(x)
    return keras.Model(words, layers.Dense(1)(layers.GlobalAveragePooling1D()(x)))


def _encoder_layer(x: Any) -> Any:
    attention = layers.MultiHeadAttention(HEADS, MODEL_WIDTH // HEADS)
    x = layers.LayerNormalization()(x + attention(x, x))
    hidden = layers.Dense(2 * MODEL_WIDTH, activation="relu")(x)
    return layers.LayerNormalization()(x + layers.Dense(MODEL_WIDTH)(hidden))
