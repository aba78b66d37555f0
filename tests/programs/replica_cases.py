"""What is trained on two replicas and on one device. This needs no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

REPLICAS, SHARE, STEPS, ROWS = 2, 4, 5, 15
BATCH = REPLICAS * SHARE
_random = np.random.default_rng(1)
# Some ids repeat within a replica, some across replicas, and some rows are absent from
# a batch and come in another: a test holds that.
IDS = _random.integers(0, ROWS, (STEPS, BATCH, 3)).astype("int32")
TARGETS = _random.normal(size=(STEPS, BATCH, 1)).astype("float32")


@dataclass(frozen=True)
class Case:
    """An optimizer by name, trained by `fit` or in a `loop` of one's own."""

    how: str
    optimizer: str
    learning_rate: float
    arguments: dict[str, Any] = field(default_factory=dict)
    package: str = "keras_textbook_opt"

    @property
    def label(self) -> str:
        arguments = [f"{name}={value}" for name, value in self.arguments.items()]
        return "-".join([self.how, self.package, self.optimizer, *arguments])


CLIPS: list[dict[str, Any]] = [
    {"clipnorm": 0.2},
    {"global_clipnorm": 0.3},
    {"clipvalue": 0.05},
]
RATES = {"SGD": 0.5, "Momentum": 0.1, "Adam": 0.1}
OWN_HOOKS = "tests.programs.own_hooks"
LAZY = {"sparse_update": "lazy"}
EMA = {"use_ema": True, "ema_momentum": 0.5}


def loop(optimizer: str, **arguments: Any) -> Case:
    return Case("loop", optimizer, RATES[optimizer], arguments)


def fit(optimizer: str, **arguments: Any) -> Case:
    return Case("fit", optimizer, RATES[optimizer], arguments)


MULTIPLIED = {"learning_rate_multipliers": {"embedding": 0.5, "bias": 0.0}}
ACCUMULATED = {"gradient_accumulation_steps": 2}
OVERWRITTEN = {"ema_overwrite_frequency": 2, **EMA}
# One of each kind; a step that branches: Keras's own fails there.
FEW = [
    loop("SGD", clipnorm=0.2),
    loop("Momentum", global_clipnorm=0.3),
    loop("Momentum", nesterov=True, weight_decay=0.3, clipvalue=0.05, **LAZY),
    loop("Adam", amsgrad=True, weight_decay=0.3, loss_scale_factor=8.0),
    loop("SGD", clipnorm=0.2, **MULTIPLIED, **ACCUMULATED),
    fit(
        "Adam",
        amsgrad=True,
        clipvalue=0.05,
        loss_scale_factor=8.0,
        **MULTIPLIED,
        **EMA,
        **LAZY,
    ),
    fit("Adam", clipnorm=0.2, **OVERWRITTEN),
    Case("loop", "OwnRows", 0.1, {**LAZY, "rows": ROWS}, OWN_HOOKS),
]
MORE = [
    *(loop(optimizer, **clip) for optimizer in RATES for clip in CLIPS),
    loop("SGD", weight_decay=0.3, loss_scale_factor=8.0),
    loop("SGD", clipnorm=0.2, **EMA),
    loop("Momentum", nesterov=True, weight_decay=0.3, **EMA),
    loop("Adam", amsgrad=True, weight_decay=0.3, global_clipnorm=0.3, **EMA, **LAZY),
    fit("SGD", global_clipnorm=0.3, weight_decay=0.3, loss_scale_factor=8.0),
    fit("Momentum", nesterov=True, clipvalue=0.05, weight_decay=0.3, **EMA),
    fit("Momentum", global_clipnorm=0.3, weight_decay=0.3, **LAZY),
    fit("Adam", clipnorm=0.2, weight_decay=0.3, loss_scale_factor=8.0),
    *(
        train(optimizer, clipnorm=0.2, **arguments)
        for train in (loop, fit)
        for optimizer in RATES
        for arguments in (ACCUMULATED, OVERWRITTEN)
    ),
    fit(
        "Adam", clipvalue=0.05, gradient_accumulation_steps=3, weight_decay=0.3, **LAZY
    ),
    *(
        Case("loop", "OwnRows", 0.1, {**arguments, "rows": ROWS}, OWN_HOOKS)
        for arguments in ({}, {"clipnorm": 0.2, **ACCUMULATED})
    ),
]
MORE = [case for case in MORE if case not in FEW]
# The same with Keras's own, which clips before the sum: these must not agree.
BUILT_IN = [Case("loop", "SGD", 0.5, clip, "keras.optimizers") for clip in CLIPS]
SETS = {"few": [*FEW, BUILT_IN[0]], "more": [*MORE, *BUILT_IN[1:]]}
