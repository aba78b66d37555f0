"""An experiment as rows: over the seeds, ours, the built-in, and it one ulp away."""

from collections.abc import Iterator, Sequence
from functools import cache

import keras
import numpy as np

from benchmarks import curves
from benchmarks.boston import same_path as path
from benchmarks.boston import train
from benchmarks.boston.data import shipped
from benchmarks.boston.experiments import Experiment
from benchmarks.curves import figure
from benchmarks.figures import BUILTIN, OURS
from benchmarks.rows import Row
from benchmarks.suite import Advance
from benchmarks.training import Array, Run, Weights, initial_weights

ONE_ULP_AWAY = "built-in one ulp away"
SAME_PATH = "same path"
LOSS = "(1000 $)²"
EPOCHS, APART = "epochs", "apart"
SMALLEST, DEAD, BIAS = "smallest test loss", "dead units", "last bias"
TRAINING_CURVE, TEST_CURVE = "training loss of an epoch", "test loss after an epoch"
UNITS = {SMALLEST: LOSS, BIAS: "1000 $", DEAD: "", APART: ""}
BETA_2_ONE_ULP_UP = float(np.nextafter(np.float32(0.999), np.float32(1)))

Runs = dict[str, Run]
# No model is compiled twice.
_trainer = cache(train.trainer)


def same_path(advance: Advance) -> list[Row]:
    """Return how far ours is from the built-in in float64, a pair a row."""
    found = [
        figure(SAME_PATH, pair.title, OURS, path.difference(pair))
        for pair in path.PAIRS
    ]
    advance(1)
    return found


def of_experiment(
    experiment: Experiment, seeds: Sequence[int], advance: Advance
) -> list[Row]:
    """Run one experiment over all seeds, and return its figures and curves."""
    found, runs = [figure(experiment.name, EPOCHS, "", experiment.epochs)], []
    for seed in seeds:
        runs.append(_run(experiment, seed))
        found += _figures(experiment.name, f"seed {seed}", runs[-1])
        advance(1)
    return [*found, *_curves(experiment, runs)]


def _run(experiment: Experiment, seed: int) -> Runs:
    """Train all from the seed; one ulp away is the built-in with other numbers.

    They are the weights and Adam's β₂, which the built-in rounds to float32 in one
    place and not in another.
    """
    ours, builtin, settings = experiment.ours, experiment.builtin, experiment.settings
    adam = builtin is keras.optimizers.Adam
    moved = {**settings, "beta_2": BETA_2_ONE_ULP_UP} if adam else settings
    start, batches = initial_weights(train.mlp, seed), train.batches(experiment, seed)
    away = train.one_ulp_away(start)
    how = experiment.learning_rate, batches
    return {
        OURS: _trainer(ours, **settings).train(start, *how),
        BUILTIN: _trainer(builtin, **settings).train(start, *how),
        ONE_ULP_AWAY: _trainer(builtin, **moved).train(away, *how),
    }


def _figures(part: str, seed: str, runs: Runs) -> Iterator[Row]:
    builtin = runs[BUILTIN].train_losses
    for subject, run in runs.items():
        figures = {
            SMALLEST: np.nanmin(run.test_losses),
            DEAD: dead_units(run.weights, shipped().x_train),
            BIAS: run.weights[-1][0],
        }
        if subject != BUILTIN:
            figures[APART] = path.largest_difference(run.train_losses, builtin)
        for case, value in figures.items():
            yield figure(part, case, subject, value, seed, UNITS[case])


def dead_units(weights: Weights, inputs: Array) -> int:
    """Return how many hidden units are 0 on every one of the rows."""
    kernel, bias = weights[:2]
    active = inputs.astype("float32") @ kernel + bias > 0
    return int(np.count_nonzero(~active.any(axis=0)))


def _curves(experiment: Experiment, runs: Sequence[Runs]) -> Iterator[Row]:
    """Yield losses at epochs that are evenly spread on a logarithmic axis.

    Of the built-in it is the median alone.
    """
    epochs = np.geomspace(1, experiment.epochs, 30)
    for subject in (OURS, BUILTIN):
        losses = {
            TRAINING_CURVE: [it[subject].train_losses.mean(axis=1) for it in runs],
            TEST_CURVE: [it[subject].test_losses for it in runs],
        }
        for case, of_seeds in losses.items():
            names = {"part": experiment.name, "case": case, "subject": subject}
            for row in curves.of_losses(of_seeds, epochs, unit=LOSS, **names):
                if subject == OURS or row.quantile == 0.5:
                    yield row
