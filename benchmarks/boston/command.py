"""The parts of the benchmark: the same path, and each experiment, over the seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pandas as pd

from benchmarks import rows, suite
from benchmarks.boston import experiments as cases
from benchmarks.boston.experiments import EXPERIMENTS, Experiment
from benchmarks.boston.train import PAIRS, difference, train, trainer
from benchmarks.figures import BUILTIN, OURS
from benchmarks.rows import Row, spread
from benchmarks.suite import Parts

LOSS = "(1000 $)²"
# No model is compiled twice.
_trainer = cache(trainer)


def parts(plan: str) -> Parts:
    """Return the parts; the quick plan is a twentieth of the epochs from two seeds."""
    seeds, factor = (range(2), 20) if plan == suite.QUICK else (range(4), 1)
    chosen = [replace(each, epochs=each.epochs // factor) for each in EXPERIMENTS]
    found = {each.name: partial(measure, each, seeds) for each in chosen}
    return {cases.SAME_PATH: compare_paths, **found}


def compare_paths() -> pd.DataFrame:
    """Return how far ours is from the built-in in float64, a pair a row."""
    return rows.frame(
        spread([difference(pair)], part=cases.SAME_PATH, case=pair.title)
        for pair in PAIRS
    )


def measure(experiment: Experiment, seeds: Sequence[int]) -> pd.DataFrame:
    """Run one experiment over all seeds, and return its figures and curves."""
    ours = _of_subject(experiment, seeds, OURS)
    return rows.frame([*ours, *_of_subject(experiment, seeds, BUILTIN)])


def _of_subject(
    experiment: Experiment, seeds: Sequence[int], subject: str
) -> Iterator[Row]:
    trained = _trainer(experiment.kind(subject), **experiment.settings)
    runs = [train(trained, experiment, seed, "float32") for seed in seeds]
    row = partial(spread, part=experiment.name, subject=subject)
    smallest = [np.nanmin(run.test_losses) for run in runs]
    yield row(smallest, case=cases.SMALLEST, unit=LOSS)
    for epoch in np.unique(np.geomspace(1, experiment.epochs, 30).round()):
        losses = [run.test_losses[int(epoch) - 1] for run in runs]
        yield row(losses, case=cases.CURVE, size=f"epoch {epoch:.0f}", unit=LOSS)
