"""The chapter's experiments, and the figures it prints for them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

import keras_textbook_opt

CHAPTER = (
    "the smallest test loss along one run, one unnamed seed, as printed in the "
    "chapter (TensorFlow 2.1)"
)
MOMENTUM = 0.98
EPSILON = 1e-8
CLIPNORM = 2.0
BETA_2_ONE_ULP_UP = float(np.nextafter(np.float32(0.999), np.float32(1)))

OptimizerFactory = Callable[[float], Any]


@dataclass(frozen=True)
class Optimizers:
    """One optimizer three times, each made from a learning rate.

    `builtin_one_ulp_away` is for the run that starts one ulp away. It is the built-in
    itself, but for a hyperparameter that the built-in rounds to float32 in one place
    and not in another: there it takes the next float32.
    """

    ours: OptimizerFactory
    builtin: OptimizerFactory
    builtin_one_ulp_away: OptimizerFactory


@dataclass(frozen=True)
class Experiment:
    """One line of the chapter's table; `batch_size` None is the full batch."""

    name: str
    title: str
    optimizers: Optimizers
    learning_rate: float
    epochs: int
    batch_size: int | None
    chapter: float

    def steps_per_epoch(self, rows: int) -> int:
        """Return the steps of one epoch, a last partial batch being dropped."""
        return 1 if self.batch_size is None else rows // self.batch_size

    def shortened(self, factor: int) -> "Experiment":
        """Return the same experiment with one epoch for every `factor` epochs."""
        return replace(self, epochs=self.epochs // factor)


def _builtin_sgd(rate: float) -> Any:
    return keras.optimizers.SGD(rate)


def _builtin_sgd_clipped(rate: float) -> Any:
    return keras.optimizers.SGD(rate, clipnorm=CLIPNORM)


def _builtin_momentum_clipped(rate: float) -> Any:
    return keras.optimizers.SGD(rate, momentum=MOMENTUM, clipnorm=CLIPNORM)


SGD = Optimizers(
    ours=lambda rate: keras_textbook_opt.SGD(rate),
    builtin=_builtin_sgd,
    builtin_one_ulp_away=_builtin_sgd,
)
SGD_CLIPPED = Optimizers(
    ours=lambda rate: keras_textbook_opt.SGD(rate, clipnorm=CLIPNORM),
    builtin=_builtin_sgd_clipped,
    builtin_one_ulp_away=_builtin_sgd_clipped,
)
MOMENTUM_CLIPPED = Optimizers(
    ours=lambda rate: keras_textbook_opt.Momentum(
        rate, momentum=MOMENTUM, clipnorm=CLIPNORM
    ),
    builtin=_builtin_momentum_clipped,
    builtin_one_ulp_away=_builtin_momentum_clipped,
)
ADAM_CLIPPED = Optimizers(
    ours=lambda rate: keras_textbook_opt.Adam(rate, epsilon=EPSILON, clipnorm=CLIPNORM),
    builtin=lambda rate: keras.optimizers.Adam(
        rate, epsilon=EPSILON, clipnorm=CLIPNORM
    ),
    builtin_one_ulp_away=lambda rate: keras.optimizers.Adam(
        rate, beta_2=BETA_2_ONE_ULP_UP, epsilon=EPSILON, clipnorm=CLIPNORM
    ),
)
ADAM = Optimizers(
    ours=lambda rate: keras_textbook_opt.Adam(rate, epsilon=EPSILON),
    builtin=lambda rate: keras.optimizers.Adam(rate, epsilon=EPSILON),
    builtin_one_ulp_away=lambda rate: keras.optimizers.Adam(
        rate, beta_2=BETA_2_ONE_ULP_UP, epsilon=EPSILON
    ),
)


def _sweep(exponent: int, chapter: float) -> Experiment:
    return Experiment(
        name=f"sgd-1e{exponent}",
        title=f"gradient descent, full batch, η = 1e{exponent}",
        optimizers=SGD,
        learning_rate=10.0**exponent,
        epochs=10_000,
        batch_size=None,
        chapter=chapter,
    )


SWEEP = (
    _sweep(-9, 216.570),
    _sweep(-8, 616.280),
    _sweep(-7, 85.039),
    _sweep(-6, 71.764),
    _sweep(-5, 444.852),
    _sweep(-4, 97.061),
    _sweep(-3, 83.244),
)
OTHERS = (
    Experiment(
        name="sgd-clipnorm",
        title="gradient descent, full batch, η = 1e-3, clipnorm 2",
        optimizers=SGD_CLIPPED,
        learning_rate=1e-3,
        epochs=10_000,
        batch_size=None,
        chapter=49.352,
    ),
    Experiment(
        name="mini-batches",
        title="mini-batches of 32, η = 1e-3, clipnorm 2",
        optimizers=SGD_CLIPPED,
        learning_rate=1e-3,
        epochs=2_000,
        batch_size=32,
        chapter=30.624,
    ),
    Experiment(
        name="momentum",
        title="momentum .98, mini-batches of 32, η = 1e-3, clipnorm 2",
        optimizers=MOMENTUM_CLIPPED,
        learning_rate=1e-3,
        epochs=1_000,
        batch_size=32,
        chapter=29.116,
    ),
    Experiment(
        name="adam-clipnorm",
        title="Adam, mini-batches of 32, η = 1e-3, ε = 1e-8, clipnorm 2",
        optimizers=ADAM_CLIPPED,
        learning_rate=1e-3,
        epochs=1_000,
        batch_size=32,
        chapter=28.040,
    ),
    Experiment(
        name="adam",
        title="Adam, mini-batches of 32, η = 1e-3, ε = 1e-8, no clip",
        optimizers=ADAM,
        learning_rate=1e-3,
        epochs=1_000,
        batch_size=32,
        chapter=29.336,
    ),
)
EXPERIMENTS = SWEEP + OTHERS
