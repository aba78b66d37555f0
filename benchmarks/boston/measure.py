"""An experiment as rows: over the seeds, ours, the built-in, and it one ulp away."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from benchmarks import rows
from benchmarks.boston import same_path
from benchmarks.boston.batches import batches
from benchmarks.boston.compare import largest_difference
from benchmarks.boston.data import Array, Split
from benchmarks.boston.experiments import Experiment, Settings
from benchmarks.boston.train import Run, Trainer, Weights, initial_weights, one_ulp_away
from benchmarks.figures import BUILTIN, OURS
from benchmarks.rows import Row
from benchmarks.suite import Advance

ONE_ULP_AWAY = "built-in one ulp away"
SUBJECTS = (OURS, BUILTIN, ONE_ULP_AWAY)
SAME_PATH = "same path"
# The epochs that a plot has of a curve, far fewer than there are.
POINTS = 30
BACKEND, LOSS = "tensorflow", "(1000 $)²"

EPOCHS, APART = "epochs", "apart"
SMALLEST, DEAD, BIAS = "smallest test loss", "dead units", "last bias"
TRAINING_CURVE, TEST_CURVE = "training loss of an epoch", "test loss after an epoch"
UNITS = {SMALLEST: LOSS, BIAS: "1000 $"}

Runs = dict[str, Run]


def same_paths(split: Split, advance: Advance) -> Iterator[Row]:
    """Yield how far ours is from the built-in in float64, a pair at a time."""
    for pair in same_path.PAIRS:
        yield _row(SAME_PATH, pair.title, OURS, same_path.difference(pair, split))
        advance(1)


class Laboratory:
    """Runs experiments on one split, compiling no model twice."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self._trainers: dict[object, Trainer] = {}

    def rows(
        self, experiment: Experiment, seeds: Sequence[int], advance: Advance
    ) -> list[Row]:
        """Run one experiment over all seeds, and return its figures and curves."""
        runs = [self._run(experiment, seed, advance) for seed in seeds]
        return [
            _row(experiment.name, EPOCHS, "", experiment.epochs),
            *(
                row
                for seed, of_seed in zip(seeds, runs, strict=True)
                for row in self._figures(experiment.name, seed, of_seed)
            ),
            *_curves(experiment, runs),
        ]

    def steps(self, experiment: Experiment) -> int:
        """Return the training steps that the experiment takes for each seed."""
        return len(SUBJECTS) * experiment.epochs * self._per_epoch(experiment)

    def _per_epoch(self, experiment: Experiment) -> int:
        return experiment.steps_per_epoch(len(self._split.x_train))

    def _run(self, experiment: Experiment, seed: int, advance: Advance) -> Runs:
        epochs, per_epoch = experiment.epochs, self._per_epoch(experiment)
        order = batches(self._split, experiment.batch_size, epochs, seed)
        rate, weights = experiment.learning_rate, initial_weights(seed)
        ours = self._trainer(experiment.ours, experiment.settings)
        builtin = self._trainer(experiment.builtin, experiment.settings)
        away = self._trainer(experiment.builtin, experiment.settings_one_ulp_away)
        runs = {}
        for subject, trainer, start in (
            (OURS, ours, weights),
            (BUILTIN, builtin, weights),
            (ONE_ULP_AWAY, away, one_ulp_away(weights)),
        ):
            runs[subject] = trainer.train(start, rate, order, epochs, per_epoch)
            advance(epochs * per_epoch)
        return runs

    def _trainer(self, make: Callable, settings: Settings) -> Trainer:
        key = make, frozenset({**settings, "learning_rate": None}.items())
        if key not in self._trainers:
            self._trainers[key] = Trainer(make(**settings), self._split)
        return self._trainers[key]

    def _figures(self, part: str, seed: int, runs: Runs) -> Iterator[Row]:
        builtin = runs[BUILTIN].train_losses
        for subject, run in runs.items():
            figures = {
                SMALLEST: np.nanmin(run.test_losses),
                DEAD: dead_units(run.weights, self._split.x_train),
                BIAS: run.weights[-1][0],
            }
            if subject != BUILTIN:
                figures[APART] = largest_difference(run.train_losses, builtin)
            for case, value in figures.items():
                yield _row(part, case, subject, value, f"seed {seed}")


def dead_units(weights: Weights, inputs: Array) -> int:
    """Return how many hidden units are 0 on every one of the rows."""
    kernel, bias = weights[:2]
    active = inputs.astype("float32") @ kernel + bias > 0
    return int(np.count_nonzero(~active.any(axis=0)))


def _row(part: str, case: str, subject: str, value: float, size: str = "") -> Row:
    unit = UNITS.get(case, "")
    return Row(part, case, subject, BACKEND, size, 0.5, float(value), unit)


def _curves(experiment: Experiment, runs: Sequence[Runs]) -> Iterator[Row]:
    """Yield losses at epochs that are evenly spread on a logarithmic axis.

    Of the built-in it is the median alone.
    """
    epochs = np.unique(np.geomspace(1, experiment.epochs, POINTS).round().astype(int))
    for subject in (OURS, BUILTIN):
        curves = {
            TRAINING_CURVE: [_by_epoch(of_seed[subject]) for of_seed in runs],
            TEST_CURVE: [of_seed[subject].test_losses for of_seed in runs],
        }
        for case, of_seeds in curves.items():
            for epoch in epochs:
                low, median, high = rows.extremes(
                    [losses[epoch - 1] for losses in of_seeds],
                    part=experiment.name,
                    case=case,
                    subject=subject,
                    backend=BACKEND,
                    size=f"epoch {epoch}",
                    unit=LOSS,
                )
                yield from (low, median, high) if subject == OURS else (median,)


def _by_epoch(run: Run) -> Array:
    """Return the mean training loss of each epoch."""
    return run.train_losses.reshape(len(run.test_losses), -1).mean(axis=1)
