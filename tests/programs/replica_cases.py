"""What two replicas and one device train. This module needs no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

REPLICAS, SHARE, STEPS, ROWS = 2, 4, 5, 15
BATCH = REPLICAS * SHARE
_random = np.random.default_rng(1)
# Some ids repeat within a replica, some across replicas, and some rows are absent from
# a batch and come in another: a test checks that.
IDS = _random.integers(0, ROWS, (STEPS, BATCH, 3)).astype("int32")
TARGETS = _random.normal(size=(STEPS, BATCH, 1)).astype("float32")


@dataclass(frozen=True)
class Case:
    """An optimizer by name, trained by `fit` or in a custom `loop`.

    With `resumes`, it starts from saved weights and state.
    """

    how: str
    optimizer: str
    arguments: dict[str, Any] = field(default_factory=dict)
    package: str = "keras_textbook_opt"
    resumes: bool = False

    @property
    def learning_rate(self) -> float:
        return 0.5 if self.optimizer == "SGD" else 0.1

    @property
    def label(self) -> str:
        arguments = [f"{name}={value}" for name, value in self.arguments.items()]
        resumes = ["resumes"] if self.resumes else []
        return "-".join([self.how, self.package, self.optimizer, *arguments, *resumes])


CLIPS: list[dict[str, Any]] = [
    {"clipnorm": 0.2},
    {"global_clipnorm": 0.3},
    {"clipvalue": 0.05},
]
OWN_HOOKS = "tests.programs.own_hooks"
OPTIMIZERS = ("SGD", "Momentum", "Adam")
LAZY: dict[str, Any] = {"sparse_update": "lazy"}
EMA: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5}
MULTIPLIED: dict[str, Any] = {
    "learning_rate_multipliers": {"embedding": 0.5, "bias": 0.0}
}
ACCUMULATED: dict[str, Any] = {"gradient_accumulation_steps": 2}
OVERWRITTEN: dict[str, Any] = {"ema_overwrite_frequency": 2, **EMA}


def loop(optimizer: str, resumes: bool = False, **arguments: Any) -> Case:
    return Case("loop", optimizer, arguments, resumes=resumes)


def fit(optimizer: str, resumes: bool = False, **arguments: Any) -> Case:
    return Case("fit", optimizer, arguments, resumes=resumes)


# One of each kind; Keras's own optimizers fail on a step that branches.
FEW = [
    loop("SGD", clipnorm=0.2, **MULTIPLIED, **ACCUMULATED),
    loop("Momentum", nesterov=True, weight_decay=0.3, clipvalue=0.05, **LAZY),
    loop("Adam", amsgrad=True, weight_decay=0.3, loss_scale_factor=8.0),
    fit("Adam", clipvalue=0.05, loss_scale_factor=8.0, **MULTIPLIED, **EMA, **LAZY),
    fit("Adam", clipnorm=0.2, **OVERWRITTEN),
    fit("Momentum", global_clipnorm=0.3, **ACCUMULATED, monitor=True),
    Case("loop", "OwnRows", {**LAZY, "rows": ROWS}, OWN_HOOKS),
    loop("Momentum", nesterov=True, **EMA, resumes=True),
]
MORE = [
    *(loop(optimizer, **clip) for optimizer in OPTIMIZERS for clip in CLIPS),
    loop("SGD", clipnorm=0.2, **EMA),
    loop("Momentum", nesterov=True, weight_decay=0.3, **EMA),
    loop("Adam", amsgrad=True, weight_decay=0.3, global_clipnorm=0.3, **EMA, **LAZY),
    fit("SGD", global_clipnorm=0.3, weight_decay=0.3, loss_scale_factor=8.0),
    fit("Momentum", global_clipnorm=0.3, weight_decay=0.3, **LAZY),
    *(
        train(optimizer, clipnorm=0.2, **arguments)
        for train in (loop, fit)
        for optimizer in OPTIMIZERS
        for arguments in (ACCUMULATED, OVERWRITTEN)
    ),
    fit("Adam", clipvalue=0.05, weight_decay=0.3, **ACCUMULATED, **LAZY),
    fit("Adam", clipnorm=0.2, monitor=True, **OVERWRITTEN),
    Case("loop", "OwnRows", {"clipnorm": 0.2, **ACCUMULATED, "rows": ROWS}, OWN_HOOKS),
    fit("Momentum", **EMA, resumes=True),
    fit("Adam", amsgrad=True, **ACCUMULATED, resumes=True),
]
MORE = [case for case in MORE if case not in FEW]
# Keras's own optimizers clip before the sum: these must not agree.
BUILT_IN = [Case("loop", "SGD", clip, "keras.optimizers") for clip in CLIPS]
SETS = {"few": [*FEW, BUILT_IN[0]], "more": [*MORE, *BUILT_IN[1:]]}
