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
from benchmarks.steps.on_tables import zipf
from benchmarks.steps.plans import (
    ALPHA,
    BOSTON,
    BOSTON_BATCH,
    ENCODER_LAYERS,
    HEADS,
    IMAGE_BATCH,
    IMAGE_SIZE,
    MOBILENET,
    MODEL_WIDTH,
    TABLE_WIDTH,
    TEXT_BATCH,
    TOWER_BATCH,
    TOWER_UNITS,
    TRANSFORMER,
    TWO_TOWERS,
    WORDS,
    WORDS_IN_TEXT,
    Plan,
)

BATCHES = 16
CLASSES = 10

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


def networks(plan: Plan) -> dict[str, Callable[[], Network]]:
    """Return what makes each network; the keys are the names in a plan."""
    return {
        BOSTON: boston,
        TWO_TOWERS: partial(two_towers, plan.tower_rows),
        MOBILENET: mobilenet,
        TRANSFORMER: transformer,
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
        looks_up=True,
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
        looks_up=True,
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
    shape = (IMAGE_SIZE, IMAGE_SIZE, 3)
    return keras.applications.MobileNetV2(
        shape, ALPHA, include_top=True, weights=None, classes=CLASSES
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
