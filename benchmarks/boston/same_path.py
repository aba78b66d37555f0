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

from typing import Any

from benchmarks.boston.batches import batches
from benchmarks.boston.compare import largest_difference
from benchmarks.boston.data import Array, Split
from benchmarks.boston.experiments import ADAM, DESCENT, MOMENTUM, Pair
from benchmarks.boston.train import Trainer, initial_weights

STEPS = 300
LIMIT = 1e-12
SEED = 0

CLIPPED = {"learning_rate": 2.0**-13, "clipnorm": 2.0}
BETAS = {"beta_1": 0.875, "beta_2": 1 - 2.0**-10}
SETTINGS = {"learning_rate": 2.0**-10, **BETAS, "epsilon": 2.0**-20}
ADAM_S = "Adam, mini-batches of 32, η = 2⁻¹⁰, β₁ = .875, β₂ = 1 − 2⁻¹⁰, ε = 2⁻²⁰"

PAIRS = (
    Pair(
        title="gradient descent, full batch, η = 2⁻²⁰",
        **DESCENT,
        settings={"learning_rate": 2.0**-20},
    ),
    Pair(
        title="gradient descent, full batch, η = 2⁻¹³, clipnorm 2",
        **DESCENT,
        settings=CLIPPED,
    ),
    Pair(
        title="mini-batches of 32, η = 2⁻¹³, clipnorm 2",
        **DESCENT,
        settings=CLIPPED,
        batch_size=32,
    ),
    Pair(
        title="momentum .875, mini-batches of 32, η = 2⁻¹³, clipnorm 2",
        **MOMENTUM,
        settings={**CLIPPED, "momentum": 0.875},
        batch_size=32,
    ),
    Pair(
        title=f"{ADAM_S}, clipnorm 2",
        **ADAM,
        settings={**SETTINGS, "clipnorm": 2.0},
        batch_size=32,
    ),
    Pair(title=f"{ADAM_S}, no clip", **ADAM, settings=SETTINGS, batch_size=32),
)


def difference(pair: Pair, split: Split) -> float:
    """Return the largest relative difference of a pair's training losses."""
    ours, builtin = (
        losses(make(**pair.settings), split, pair.batch_size)
        for make in (pair.ours, pair.builtin)
    )
    return largest_difference(ours, builtin)


def is_apart(difference: float) -> bool:
    """Return whether ours has left the built-in's path; NaN has."""
    return not difference < LIMIT


def losses(optimizer: Any, split: Split, batch_size: int | None) -> Array:
    """Return the training loss of each step, all of it in float64."""
    trainer, rate = Trainer(optimizer, split, "float64"), optimizer.learning_rate
    order = batches(split, batch_size, STEPS, SEED)
    run = trainer.train(initial_weights(SEED), rate, order, STEPS, steps_per_epoch=1)
    return run.train_losses
