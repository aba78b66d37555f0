"""Sparse gradients: a step against the size of the table that it updates."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.steps import floor, timing
from benchmarks.steps.cases import Case
from benchmarks.steps.figures import (
    BUILTIN,
    EXACT,
    GRAPH,
    LAZY,
    OURS,
    Measurement,
    Spread,
    ratio_name,
)
from benchmarks.steps.optimizers import ADAM, PAIRS, Pair
from benchmarks.steps.plans import TABLE_WIDTH, Plan, table_title
from benchmarks.steps.timing import Samples
from benchmarks.steps.updates import RowBatches, row_batches, sparse_step

APART = "Adam lazy, table against table"


def cases(plan: Plan) -> list[Case]:
    by_size = [
        Case(f"{table_title(rows)}, {pair.name}", partial(_measure, plan, rows, pair))
        for rows in plan.table_rows
        for pair in PAIRS
    ]
    return [*by_size, Case(APART, partial(_measure_apart, plan))]


def rows_title(rows: int) -> str:
    """Return the contender's name in the comparison of two tables."""
    return f"{rows:,} rows"


def optimizers(pair: Pair) -> Mapping[str, Callable[[], Any]]:
    """Return the contenders on a sparse gradient; without slots, lazy is exact."""
    if not pair.slots:
        return {OURS: pair.ours, BUILTIN: pair.builtin}
    return {
        EXACT: partial(pair.ours, sparse_update="exact"),
        LAZY: partial(pair.ours, sparse_update="lazy"),
        BUILTIN: pair.builtin,
    }


def ratios(samples: Samples) -> dict[str, Spread]:
    """Return how much faster each of ours is than the built-in."""
    return {
        ratio_name(BUILTIN, name): timing.ratio(samples[BUILTIN], samples[name])
        for name in samples
        if name != BUILTIN
    }


def moved(pair: Pair, batches: RowBatches, contender: str) -> int:
    return moved_bytes(pair, batches.shape, batches.distinct_rows, contender)


def moved_bytes(
    pair: Pair, shape: tuple[int, int], distinct_rows: int, contender: str
) -> int:
    """Return the bytes that the update of a table must move."""
    rows, width = shape
    if contender == LAZY:
        return floor.lazy(distinct_rows * width, pair.slots)
    return floor.exact(rows * width, distinct_rows * width, pair.slots)


def _measure(plan: Plan, rows: int, pair: Pair) -> list[Measurement]:
    batches = row_batches(rows, TABLE_WIDTH, plan.touched)
    samples = _samples(plan, batches, pair)
    return [
        Measurement(
            case=table_title(rows),
            optimizer=pair.name,
            mode=GRAPH,
            values={name: timing.spread(each) for name, each in samples.items()},
            ratios=ratios(samples),
            bytes={name: moved(pair, batches, name) for name in samples},
        )
    ]


def _samples(plan: Plan, batches: RowBatches, pair: Pair) -> Samples:
    def make_step(optimizer: Callable[[], Any]) -> timing.Step:
        return sparse_step(optimizer(), batches)

    contenders = optimizers(pair).items()
    if batches.shape[0] > plan.largest_together:
        makers = {name: partial(make_step, each) for name, each in contenders}
        return timing.one_after_the_other(makers, plan.repeats)
    steps = {name: make_step(each) for name, each in contenders}
    return timing.interleaved(steps, plan.repeats)


def _measure_apart(plan: Plan) -> list[Measurement]:
    tables = {
        rows_title(rows): row_batches(rows, TABLE_WIDTH, plan.touched)
        for rows in plan.far_apart
    }
    lazy = optimizers(ADAM)[LAZY]
    samples = timing.interleaved(
        {name: sparse_step(lazy(), batches) for name, batches in tables.items()},
        plan.repeats,
    )
    large, small = map(rows_title, plan.far_apart)
    return [
        Measurement(
            case=APART,
            optimizer=ADAM.name,
            mode=GRAPH,
            values={name: timing.spread(each) for name, each in samples.items()},
            ratios={
                ratio_name(large, small): timing.ratio(samples[large], samples[small])
            },
            bytes={name: moved(ADAM, each, LAZY) for name, each in tables.items()},
        )
    ]
