"""The parts of the benchmark: the tasks, trained by every variant over the seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pandas as pd

from benchmarks import rows, suite
from benchmarks.precision import variants
from benchmarks.precision.tasks import TASKS, Task
from benchmarks.precision.variants import VARIANTS, WIDE, WITHOUT_CARRY
from benchmarks.rows import Row, spread
from benchmarks.suite import Parts
from benchmarks.training import Trainer, batches, initial_weights


def parts(plan: str) -> Parts:
    """Return the parts; the quick plan is a tenth of the epochs from two seeds."""
    seeds, factor = (range(2), 10) if plan == suite.QUICK else (range(5), 1)
    tasks = [replace(task, epochs=max(1, task.epochs // factor)) for task in TASKS]
    return {task.name: partial(measure, task, seeds) for task in tasks}


def measure(task: Task, seeds: Sequence[int]) -> pd.DataFrame:
    """Train a task by every variant, and return the losses and the distances."""
    losses: dict[tuple[str, str], list[float]] = {}
    found: list[Row] = []
    for optimizer, dtype in VARIANTS:
        own = losses[optimizer, dtype] = [*_train(task, optimizer, dtype, seeds)]
        names = {"part": task.name, "subject": f"{optimizer}, {dtype}"}
        found.append(spread(own, case=variants.FINAL, **names))
        if dtype != WIDE:
            base = "Adam" if optimizer == WITHOUT_CARRY else optimizer
            found.append(distance(own, losses[base, WIDE], **names))
        keras.backend.clear_session()
    return rows.frame(found)


def distance(losses: Sequence[float], wide: Sequence[float], **names: str) -> Row:
    """Return the ratio of the medians less 1, and the range of the seeds' ratios."""
    a, b = np.asarray(losses), np.asarray(wide)
    a = np.where(np.isfinite(a), a, np.nan)
    by_seed = spread(a / b - 1, case=variants.FROM_WIDE, **names)
    return replace(by_seed, value=float(np.median(a) / np.median(b) - 1))


def _train(
    task: Task, optimizer: str, dtype: str, seeds: Sequence[int]
) -> Iterator[float]:
    """Yield each seed's loss over all data, of the last weights in float32."""
    x, y = task.data()
    model = task.model(dtype)
    trainer = Trainer(model, variants.make(optimizer), task.loss, (x, y))
    wide = task.model()
    for seed in seeds:
        start = initial_weights(task.model, seed)
        order = batches(x, y, task.batch_size, task.epochs, seed)
        run = trainer.train(start, task.learning_rate(optimizer), order)
        wide.set_weights([weights.astype(WIDE) for weights in run.weights])
        yield float(task.loss(y, wide(x)))
