"""Whether ours takes the built-in's path, judged in float64.

In float32 two right optimizers part: training doubles a difference in the last digit
again and again, and how soon that shows depends on the machine. In float64, with steps
short enough not to bounce from wall to wall of the valley, what rounding leaves over
these 300 steps was at most 2e-14 of the loss with any of 12 seeds, while a clip or a β
that is wrong by 1e-9 made 1e-9 and more. The limit lies between. The chapter's ε is
smaller, and its large gradients would hide it.

The hyperparameters are numbers that float32 holds: the built-ins round theirs to
float32 even where the variables are float64.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_textbook_opt
from benchmarks.boston_housing.batches import batches
from benchmarks.boston_housing.compare import largest_difference
from benchmarks.boston_housing.curves import mean_squared_error
from benchmarks.boston_housing.data import Array, Split
from benchmarks.boston_housing.train import initial_weights, mlp

STEPS = 300
LIMIT = 1e-12
SEED = 0
BATCH_SIZE = 32

CLIPPED = {"learning_rate": 2.0**-13, "clipnorm": 2.0}
ADAM = {
    "learning_rate": 2.0**-10,
    "beta_1": 0.875,
    "beta_2": 1 - 2.0**-10,
    "epsilon": 2.0**-20,
}


@dataclass(frozen=True)
class Pair:
    """Ours and the built-in, made from the same settings; `batch_size` None is all."""

    title: str
    ours: Callable[..., Any]
    builtin: Callable[..., Any]
    settings: Mapping[str, float]
    batch_size: int | None = BATCH_SIZE


@dataclass(frozen=True)
class PathDifference:
    """The largest relative difference of a pair's training losses over the steps."""

    title: str
    difference: float

    @property
    def apart(self) -> bool:
        """Whether ours has left the built-in's path."""
        return not self.difference < LIMIT


PAIRS = (
    Pair(
        "gradient descent, full batch, η = 2⁻²⁰",
        keras_textbook_opt.SGD,
        keras.optimizers.SGD,
        {"learning_rate": 2.0**-20},
        batch_size=None,
    ),
    Pair(
        "gradient descent, full batch, η = 2⁻¹³, clipnorm 2",
        keras_textbook_opt.SGD,
        keras.optimizers.SGD,
        CLIPPED,
        batch_size=None,
    ),
    Pair(
        "mini-batches of 32, η = 2⁻¹³, clipnorm 2",
        keras_textbook_opt.SGD,
        keras.optimizers.SGD,
        CLIPPED,
    ),
    Pair(
        "momentum .875, mini-batches of 32, η = 2⁻¹³, clipnorm 2",
        keras_textbook_opt.Momentum,
        keras.optimizers.SGD,
        {**CLIPPED, "momentum": 0.875},
    ),
    Pair(
        "Adam, mini-batches of 32, η = 2⁻¹⁰, β₁ = .875, β₂ = 1 − 2⁻¹⁰, ε = 2⁻²⁰, "
        "clipnorm 2",
        keras_textbook_opt.Adam,
        keras.optimizers.Adam,
        {**ADAM, "clipnorm": 2.0},
    ),
    Pair(
        "Adam, mini-batches of 32, η = 2⁻¹⁰, β₁ = .875, β₂ = 1 − 2⁻¹⁰, ε = 2⁻²⁰, "
        "no clip",
        keras_textbook_opt.Adam,
        keras.optimizers.Adam,
        ADAM,
    ),
)


def differences(split: Split) -> Iterator[PathDifference]:
    """Yield how far ours is from the built-in, a pair at a time."""
    for pair in PAIRS:
        yield difference(pair, split)


def difference(pair: Pair, split: Split) -> PathDifference:
    """Return how far ours is from the built-in on the chapter's network."""
    ours, builtin = (
        losses(make(**pair.settings), split, pair.batch_size)
        for make in (pair.ours, pair.builtin)
    )
    return PathDifference(pair.title, largest_difference(ours, builtin))


def losses(optimizer: Any, split: Split, batch_size: int | None) -> Array:
    """Return the training loss of each step, all of it in float64."""
    model = mlp("float64")
    model.set_weights(initial_weights(SEED))
    variables = model.trainable_variables

    @tf.function(jit_compile=False)
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = mean_squared_error(tf.cast(y, tf.float64), model(x))
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    order = batches(split, batch_size, STEPS, SEED).take(STEPS)
    return np.array([step(x, y).numpy() for x, y in order])
