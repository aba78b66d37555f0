"""A task as rows: trained by each variant from each seed."""

import time
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from benchmarks import curves
from benchmarks.curves import figure
from benchmarks.precision.tasks import Task
from benchmarks.precision.variants import OPTIMIZERS, VARIANTS
from benchmarks.rows import Row
from benchmarks.suite import Advance
from benchmarks.training import Array, Trainer, Weights, batches, initial_weights

FINAL, OWN = "final loss", "final loss in its own dtype"
MOVED, CURVE = "largest share of the weights that moved", "loss of an epoch"
PARAMETERS, EPOCHS, STEPS, SECONDS = "parameters", "epochs", "steps", "seconds"


def of_task(task: Task, seeds: Sequence[int], advance: Advance) -> list[Row]:
    """Train the task, and return what its pages and plots want of it."""
    start, data = time.perf_counter(), task.data()
    found: list[Row] = []
    for subject in VARIANTS:
        found += _of_variant(task, subject, data, seeds)
        advance(len(seeds) / len(VARIANTS))
        keras.backend.clear_session()
    figures = {
        PARAMETERS: task.model().count_params(),
        EPOCHS: task.epochs,
        STEPS: task.epochs * (len(data[0]) // task.batch_size),
        SECONDS: time.perf_counter() - start,
    }
    return found + [figure(task.name, it, "", figures[it]) for it in figures]


def _of_variant(
    task: Task, subject: str, data: tuple[Array, Array], seeds: Sequence[int]
) -> Iterator[Row]:
    """Yield the losses of a variant's seeds.

    The final loss is over all training data, of the end's weights in a model of
    float32; beside it stands that of the model that was trained, in its dtype.
    """
    optimizer, dtype = VARIANTS[subject]
    trainer = Trainer(task.model(dtype), OPTIMIZERS[optimizer](), task.loss, data)
    wide, (x, y) = task.model(), data
    losses, moved = [], []
    for seed in seeds:
        start = initial_weights(task.model, seed)
        order = batches(x, y, task.batch_size, task.epochs, seed)
        run = trainer.train(start, task.learning_rate(optimizer), order)
        wide.set_weights([weights.astype("float32") for weights in run.weights])
        for case, loss in ((FINAL, task.loss(y, wide(x))), (OWN, run.test_losses[-1])):
            yield figure(task.name, case, subject, loss, f"seed {seed}", task.unit)
        losses.append(run.train_losses.mean(axis=1))
        moved.append(share_moved(start, run.weights))
    yield figure(task.name, MOVED, subject, max(moved))
    yield from curve(task, subject, losses)


def share_moved(start: Weights, end: Weights) -> float:
    """Return the share of the elements that differ, in the dtype of the end."""
    moved = sum(
        np.count_nonzero(a.astype(b.dtype) != b)
        for a, b in zip(start, end, strict=True)
    )
    return float(moved / sum(a.size for a in start))


def curve(task: Task, subject: str, losses: Sequence[Array]) -> Iterator[Row]:
    """Yield the losses of some epochs, evenly spread, over the seeds."""
    epochs = np.linspace(1, len(losses[0]), 40)
    names = {"part": task.name, "case": CURVE, "subject": subject, "unit": task.unit}
    return curves.of_losses(losses, epochs, **names)
