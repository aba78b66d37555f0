"""A task as rows: trained by each variant from each seed."""

import time
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from benchmarks import rows
from benchmarks.precision.tasks import Task
from benchmarks.precision.train import Run, Trainer
from benchmarks.precision.variants import Variant
from benchmarks.rows import Row
from benchmarks.suite import Advance

BACKEND = "tensorflow"
FINAL, OWN = "final loss", "final loss in its own dtype"
MOVED, CURVE = "largest share of the weights that moved", "loss of an epoch"
PARAMETERS, EPOCHS, STEPS, SECONDS = "parameters", "epochs", "steps", "seconds"
# The epochs that a plot has of a curve.
POINTS = 40


def of_task(
    task: Task, variants: Sequence[Variant], seeds: Sequence[int], advance: Advance
) -> list[Row]:
    """Train the task, and return what its pages and plots want of it."""
    start, data = time.perf_counter(), task.data()
    found: list[Row] = []
    for variant in variants:
        trainer = Trainer(task, variant, data)
        runs = [trainer.train(seed, lambda: advance(1)) for seed in seeds]
        found += _figures(task, variant, seeds, runs)
        keras.backend.clear_session()
    figures = {
        PARAMETERS: task.model("float32").count_params(),
        EPOCHS: task.epochs,
        STEPS: task.epochs * (len(data[0]) // task.batch_size),
        SECONDS: time.perf_counter() - start,
    }
    found += [row(task, case, "", value) for case, value in figures.items()]
    return found


def _figures(
    task: Task, variant: Variant, seeds: Sequence[int], runs: Sequence[Run]
) -> Iterator[Row]:
    name = variant.name
    for seed, run in zip(seeds, runs, strict=True):
        yield row(task, FINAL, name, run.final_loss, f"seed {seed}", task.unit)
        yield row(task, OWN, name, run.own_loss, f"seed {seed}", task.unit)
    yield row(task, MOVED, name, max(run.moved for run in runs))
    yield from curves(task, name, [run.curve for run in runs])


def curves(
    task: Task, subject: str, by_seed: Sequence[Sequence[float]]
) -> Iterator[Row]:
    """Yield the losses of some epochs, evenly spread, over the seeds."""
    epochs = np.linspace(1, len(by_seed[0]), POINTS).round().astype(int)
    for epoch in np.unique(epochs):
        yield from rows.extremes(
            [curve[epoch - 1] for curve in by_seed],
            part=task.name,
            case=CURVE,
            subject=subject,
            backend=BACKEND,
            size=f"epoch {epoch}",
            unit=task.unit,
        )


def row(
    task: Task, case: str, subject: str, value: float, size: str = "", unit: str = ""
) -> Row:
    return Row(task.name, case, subject, BACKEND, size, 0.5, float(value), unit)
