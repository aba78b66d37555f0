"""The figures of an experiment: all that the tables and the JSON file hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.boston_housing.compare import (
    Curve,
    largest_difference,
    largest_first_difference,
)
from benchmarks.boston_housing.data import Array, Split
from benchmarks.boston_housing.runs import ExperimentRuns, SeedRuns
from benchmarks.boston_housing.train import HIDDEN_UNITS, Run, Weights


@dataclass(frozen=True)
class Targets:
    """Means and variance of the targets, in 1000 $ and (1000 $)².

    The variance of the test targets is the smallest test loss of a model that says
    the same for every row.
    """

    training_mean: float
    test_mean: float
    test_variance: float

    def loss_of(self, constant: float) -> float:
        """Return the test loss of a model that says `constant` for every row."""
        return self.test_variance + (constant - self.test_mean) ** 2

    def loss_of_descent(self, learning_rate: float, epochs: int) -> float:
        """Return that test loss for a constant found by gradient descent from 0."""
        remainder = (1 - 2 * learning_rate) ** epochs
        return self.loss_of(self.training_mean * (1 - remainder))


@dataclass(frozen=True)
class RunSummary:
    """One run. A unit is dead if it is 0 on every training row after the last step."""

    smallest_test_loss: float
    last_test_loss: float
    last_training_loss: float
    dead_units: int
    last_bias: float

    @property
    def collapsed(self) -> bool:
        """Whether nothing is left of the model but its last bias."""
        return self.dead_units == HIDDEN_UNITS


@dataclass(frozen=True)
class Spread:
    """A figure over the seeds."""

    median: float
    smallest: float
    largest: float


@dataclass(frozen=True)
class Difference:
    """The largest relative difference of two training loss curves of one seed."""

    first_100_steps: float
    whole_run: float


@dataclass(frozen=True)
class SeedSummary:
    """The three runs of one seed and their differences from the built-in's run."""

    seed: int
    ours: RunSummary
    builtin: RunSummary
    builtin_one_ulp_away: RunSummary
    ours_from_builtin: Difference
    builtin_one_ulp_away_from_builtin: Difference


@dataclass(frozen=True)
class ExperimentSummary:
    """One line of the table; `ours` and `builtin` are smallest test losses."""

    name: str
    title: str
    learning_rate: float
    epochs: int
    chapter: float
    ours: Spread
    builtin: Spread
    ours_from_builtin: Difference
    builtin_one_ulp_away_from_builtin: Difference
    seconds: float
    seeds: tuple[SeedSummary, ...]


def targets(split: Split) -> Targets:
    """Return what the targets of this split say of a constant model."""
    return Targets(
        training_mean=float(split.y_train.mean()),
        test_mean=float(split.y_test.mean()),
        test_variance=float(split.y_test.var()),
    )


def summarize(runs: ExperimentRuns, split: Split) -> ExperimentSummary:
    """Return the figures of one experiment."""
    seeds = tuple(_summarize_seed(seed, split) for seed in runs.seeds)
    return ExperimentSummary(
        name=runs.experiment.name,
        title=runs.experiment.title,
        learning_rate=runs.experiment.learning_rate,
        epochs=runs.experiment.epochs,
        chapter=runs.experiment.chapter,
        ours=_spread([seed.ours.smallest_test_loss for seed in seeds]),
        builtin=_spread([seed.builtin.smallest_test_loss for seed in seeds]),
        ours_from_builtin=_largest([seed.ours_from_builtin for seed in seeds]),
        builtin_one_ulp_away_from_builtin=_largest(
            [seed.builtin_one_ulp_away_from_builtin for seed in seeds]
        ),
        seconds=round(runs.seconds, 2),
        seeds=seeds,
    )


def dead_units(weights: Weights, rows: Array) -> int:
    """Return how many hidden units are 0 on every one of the rows."""
    kernel, bias = weights[:2]
    active = rows.astype("float32") @ kernel + bias > 0
    return int(np.count_nonzero(~active.any(axis=0)))


def _summarize_seed(runs: SeedRuns, split: Split) -> SeedSummary:
    builtin = runs.builtin.train_losses
    return SeedSummary(
        seed=runs.seed,
        ours=_summarize_run(runs.ours, split),
        builtin=_summarize_run(runs.builtin, split),
        builtin_one_ulp_away=_summarize_run(runs.builtin_one_ulp_away, split),
        ours_from_builtin=_difference(runs.ours.train_losses, builtin),
        builtin_one_ulp_away_from_builtin=_difference(
            runs.builtin_one_ulp_away.train_losses, builtin
        ),
    )


def _summarize_run(run: Run, split: Split) -> RunSummary:
    return RunSummary(
        smallest_test_loss=float(np.nanmin(run.test_losses)),
        last_test_loss=float(run.test_losses[-1]),
        last_training_loss=float(run.train_losses[-1]),
        dead_units=dead_units(run.weights, split.x_train),
        last_bias=float(run.weights[-1][0]),
    )


def _difference(curve: Curve, reference: Curve) -> Difference:
    return Difference(
        first_100_steps=largest_first_difference(curve, reference),
        whole_run=largest_difference(curve, reference),
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(float(np.median(values)), min(values), max(values))


def _largest(differences: Sequence[Difference]) -> Difference:
    def largest(of: Callable[[Difference], Any]) -> float:
        return max(map(of, differences))

    return Difference(
        first_100_steps=largest(lambda difference: difference.first_100_steps),
        whole_run=largest(lambda difference: difference.whole_run),
    )
