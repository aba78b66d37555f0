"""Steps on TensorFlow by some rows of a table, against the size of that table."""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.steps import cases, on_tensorflow
from benchmarks.steps.cases import BUILTIN, LAZY, OURS
from benchmarks.steps.pairs import Contender, Pair, check_same_step, compare, values_of
from benchmarks.steps.plans import Plan
from benchmarks.steps.sizes import TABLE_WIDTH, table_title, zipf
from benchmarks.steps.update import timed

GRADIENT_SCALE = 0.05
POOL = 16


def measure(plan: Plan, backend: Any) -> Iterator[Pair]:
    for rows, case in itertools.product(plan.table_rows, cases.MAIN):
        yield from _measure(plan, rows, case)
    yield _two_tables(plan)


def contenders(case: str, batches: "Batches") -> dict[str, Contender]:
    """Return ours, exact and lazy, and the built-in."""
    found = {OURS: _of_keras(cases.ours(case), batches)}
    if case != "SGD":  # Without slots, exact and lazy are the same.
        found[LAZY] = _of_keras(cases.ours(case, sparse_update="lazy"), batches)
    found[BUILTIN] = _of_keras(cases.builtin(case), batches)
    return found


def _measure(plan: Plan, rows: int, case: str) -> Iterator[Pair]:
    found = contenders(case, Batches(rows, plan.touched))
    check_same_step(found)
    samples = timed(found, plan.repeats)
    names = {"what": "update", "size": table_title(rows), "case": case}
    for subject in [*samples][:-1]:
        yield compare(samples, subject, BUILTIN, backend="tensorflow", **names)


def _two_tables(plan: Plan) -> Pair:
    """Compare lazy steps of a large table with those of a small one."""
    made = {
        table_title(rows): _of_keras(
            cases.ours("Adam", sparse_update="lazy"), Batches(rows, plan.touched)
        )
        for rows in plan.two_tables
    }
    small, large = made
    names = {"what": "lazy update", "backend": "tensorflow", "case": "Adam"}
    samples = timed(made, plan.repeats)
    return compare(samples, large, small, size="two tables", **names)


class Batches:
    """Gradients of one table: the ids that each batch looks up, a row for each.

    Ids follow Zipf's law, but the first batch looks up each id once: with repeats, the
    built-in `Adam` takes another step.
    """

    def __init__(self, rows: int, touched: int):
        self.shape = rows, TABLE_WIDTH
        random = np.random.default_rng(0)
        first = random.choice(rows, touched, replace=False).astype(np.int32)
        self.ids = [first, *zipf(rows, (POOL - 1, touched), random)]
        draw = partial(random.standard_normal, (touched, TABLE_WIDTH), np.float32)
        self.values = [np.float32(GRADIENT_SCALE) * draw() for _ in self.ids]
        self.table = random.standard_normal(self.shape, np.float32)


def _of_keras(optimizer: Any, batches: Batches) -> Contender:
    """Return the step of a new table; each call takes the next batch of rows."""
    table = keras.Variable(batches.table)
    optimizer.build([table])

    def update(ids: Any, values: Any) -> None:
        rows = tf.IndexedSlices(values, ids, tf.constant(batches.shape))
        optimizer.apply([rows], [table])

    compiled = on_tensorflow.compiled(update)
    pool: Iterator[Any] = itertools.cycle(
        [tuple(map(tf.constant, each)) for each in zip(batches.ids, batches.values)]
    )
    state = [table, *optimizer.variables]
    return Contender(
        lambda: compiled(*next(pool)),
        partial(values_of, [table]),
        partial(on_tensorflow.free, state),
    )
