"""The cases that processes train. This module needs no backend.

Rows repeat within a share of a batch and across shares, and some are absent from a
batch and come in another; three shares have different sizes.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ROWS, LOOKUPS, BATCH, STEPS = 15, 3, 8, 6
WIDTH = 4  # of the variables that are split
_random = np.random.default_rng(1)
IDS = _random.integers(0, ROWS, (STEPS, BATCH, LOOKUPS)).astype("int32")
TARGETS = _random.normal(size=(STEPS, BATCH, 1)).astype("float32")


@dataclass(frozen=True)
class Case:
    """An optimizer by name, and the dtype of the table that it trains.

    Replicas train it by `fit` or in a custom `loop`. With `resumes`, they start from
    saved weights and state.
    """

    optimizer: str
    learning_rate: float
    arguments: dict[str, Any] = field(default_factory=dict)
    table: str = "float32"
    package: str = "keras_textbook_opt"
    how: str = "loop"
    resumes: bool = False

    def make_optimizer(self) -> Any:
        kind = getattr(importlib.import_module(self.package), self.optimizer)
        optimizer = kind(self.learning_rate, name="optimizer", **self.arguments)
        if optimizer.weight_decay:
            optimizer.exclude_from_weight_decay(var_names=["bias"])
        return optimizer


def share(array: np.ndarray, index: int, count: int) -> np.ndarray:
    """The part of a batch for worker `index` of `count`."""
    return np.array_split(array, count)[index]


def sgd(table: str = "float32", **arguments: Any) -> Case:
    return Case("SGD", 0.5, arguments, table)


def momentum(table: str = "float32", **arguments: Any) -> Case:
    return Case("Momentum", 0.1, arguments, table)


def adam(table: str = "float32", **arguments: Any) -> Case:
    return Case("Adam", 0.1, arguments, table)


LAZY: dict[str, Any] = {"sparse_update": "lazy"}
TWICE: dict[str, Any] = {"gradient_accumulation_steps": 2}
AVERAGED: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5}
OVERWRITTEN: dict[str, Any] = {"ema_overwrite_frequency": 2, **AVERAGED}
CASES = {
    "clipnorm": sgd(clipnorm=0.2),
    "global clipnorm": momentum(global_clipnorm=0.3),
    "clipvalue": adam(clipvalue=0.05),
    "lazy": adam(amsgrad=True, clipnorm=0.2, **LAZY),
    "exact": momentum(nesterov=True),
    "accumulated": sgd(clipnorm=0.2, **TWICE),
    "accumulated, lazy": adam(global_clipnorm=0.3, **TWICE, **LAZY),
    "overwritten with averages": momentum(clipvalue=0.05, **OVERWRITTEN),
    "decayed": adam(weight_decay=0.3, loss_scale_factor=8.0),
    "everything": adam(
        "float16", weight_decay=0.3, clipnorm=0.2, **TWICE, **OVERWRITTEN, **LAZY
    ),
}
SETS = {"few": {k: CASES[k] for k in ("global clipnorm", "everything")}, "all": CASES}
# Keras's own optimizer clips each worker's gradient: the cases can tell.
BUILT_IN = Case("SGD", 0.5, {"clipnorm": 0.2}, package="keras.optimizers")

# For `fit`, with a dense gradient of the table in the table's dtype.
EVERYTHING: dict[str, Any] = {
    "clipnorm": 0.2,
    "weight_decay": 0.3,
    **TWICE,
    **OVERWRITTEN,
}
FITTED: dict[str, Case] = {
    **{
        name: CASES[name]
        for name in ("clipnorm", "global clipnorm", "clipvalue", "accumulated")
    },
    "everything": adam(amsgrad=True, **EVERYTHING),
}
SAVED = adam("float16", **EVERYTHING)
