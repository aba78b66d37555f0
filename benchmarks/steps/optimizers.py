"""The optimizers that are compared, each as ours and as Keras's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras

import keras_textbook_opt

LEARNING_RATE = 1e-3
MOMENTUM = 0.9
EPSILON = 1e-8
# Keras has no multipliers: its optimizer stands beside ours without them.
MULTIPLIERS = "multipliers"
# Nor has it a monitor.
MONITOR, CLIP_AND_MONITOR = "monitor", "clipnorm + monitor"
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "clipnorm": {"clipnorm": 1.0},
    "global_clipnorm": {"global_clipnorm": 1.0},
    "weight_decay": {"weight_decay": 0.004},
    MULTIPLIERS: {"learning_rate_multipliers": {"[02468]$": 0.5}},
    MONITOR: {},
    CLIP_AND_MONITOR: {"clipnorm": 1.0},
}
WATCHED = (MONITOR, CLIP_AND_MONITOR)
PLAIN = ""
CLIPS = ("clipnorm", "global_clipnorm")
NORMS = (*CLIPS, *WATCHED)


@dataclass(frozen=True)
class Pair:
    """One optimizer twice; both take the same options, but for what Keras lacks."""

    name: str
    ours: Callable[..., Any]
    builtin: Callable[..., Any]
    slots: int


SGD = Pair(
    "SGD",
    ours=partial(keras_textbook_opt.SGD, LEARNING_RATE),
    builtin=partial(keras.optimizers.SGD, LEARNING_RATE),
    slots=0,
)
MOMENTUM_PAIR = Pair(
    "Momentum",
    ours=partial(keras_textbook_opt.Momentum, LEARNING_RATE, momentum=MOMENTUM),
    builtin=partial(keras.optimizers.SGD, LEARNING_RATE, momentum=MOMENTUM),
    slots=1,
)
ADAM = Pair(
    "Adam",
    ours=partial(keras_textbook_opt.Adam, LEARNING_RATE, epsilon=EPSILON),
    builtin=partial(keras.optimizers.Adam, LEARNING_RATE, epsilon=EPSILON),
    slots=2,
)
PAIRS = (SGD, MOMENTUM_PAIR, ADAM)


def title(pair: Pair, option: str) -> str:
    """Return the name of the optimizer with its option, as "Adam + clipnorm"."""
    return pair.name if option == PLAIN else f"{pair.name} + {option}"


def arguments(option: str) -> Mapping[str, Any]:
    return {} if option == PLAIN else OPTIONS[option]


def arguments_of_builtin(option: str) -> Mapping[str, Any]:
    return {} if option == MULTIPLIERS else arguments(option)


def without(option: str) -> str:
    """Return the option beside which the cost of this one stands."""
    return "clipnorm" if option == CLIP_AND_MONITOR else PLAIN
