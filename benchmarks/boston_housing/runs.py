"""One experiment: over all seeds, ours, the built-in, and the built-in one ulp away."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.boston_housing.batches import batches
from benchmarks.boston_housing.data import Split
from benchmarks.boston_housing.experiments import Experiment, OptimizerFactory
from benchmarks.boston_housing.train import (
    Run,
    Trainer,
    Weights,
    initial_weights,
    one_ulp_away,
)

RUNS_PER_SEED = 3


@dataclass(frozen=True)
class SeedRuns:
    """The three runs of one seed: same batches, and the same weights but for an ulp."""

    seed: int
    ours: Run
    builtin: Run
    builtin_one_ulp_away: Run


@dataclass(frozen=True)
class ExperimentRuns:
    """All runs of one experiment, and the seconds they took, compiling included."""

    experiment: Experiment
    seeds: tuple[SeedRuns, ...]
    seconds: float


class Laboratory:
    """Runs experiments on one split, compiling no model twice."""

    def __init__(self, split: Split, on_steps: Callable[[int], None]) -> None:
        self._split = split
        self._on_steps = on_steps
        self._trainers: dict[tuple[OptimizerFactory, int, int], Trainer] = {}

    def steps(self, experiment: Experiment) -> int:
        """Return the training steps that the experiment takes for each seed."""
        return RUNS_PER_SEED * experiment.epochs * self._steps_per_epoch(experiment)

    def run(self, experiment: Experiment, seeds: Iterable[int]) -> ExperimentRuns:
        """Run one experiment over all seeds."""
        start = time.perf_counter()
        runs = tuple(self._run_seed(experiment, seed) for seed in seeds)
        return ExperimentRuns(experiment, runs, time.perf_counter() - start)

    def _run_seed(self, experiment: Experiment, seed: int) -> SeedRuns:
        weights = initial_weights(seed)
        order = batches(self._split, experiment.batch_size, experiment.epochs, seed)

        def train(optimizer_factory: OptimizerFactory, start: Weights) -> Run:
            trainer = self._trainer(experiment, optimizer_factory)
            return trainer.train(start, experiment.learning_rate, order, self._on_steps)

        optimizers = experiment.optimizers
        return SeedRuns(
            seed=seed,
            ours=train(optimizers.ours, weights),
            builtin=train(optimizers.builtin, weights),
            builtin_one_ulp_away=train(
                optimizers.builtin_one_ulp_away, one_ulp_away(weights)
            ),
        )

    def _trainer(
        self, experiment: Experiment, optimizer_factory: OptimizerFactory
    ) -> Trainer:
        steps_per_epoch = self._steps_per_epoch(experiment)
        key = (optimizer_factory, experiment.epochs, steps_per_epoch)
        if key not in self._trainers:
            self._trainers[key] = Trainer(
                optimizer_factory(experiment.learning_rate),
                self._split,
                experiment.epochs,
                steps_per_epoch,
            )
        return self._trainers[key]

    def _steps_per_epoch(self, experiment: Experiment) -> int:
        return experiment.steps_per_epoch(len(self._split.x_train))
