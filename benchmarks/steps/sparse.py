"""Sparse gradients: a step against the size of the table that it updates."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks import timing
from benchmarks.rows import Row
from benchmarks.steps import bandwidth, on_tables, peers
from benchmarks.steps.bandwidth import Floor, Moves
from benchmarks.steps.batches import Batches
from benchmarks.steps.contender import Contender, check_all_take_the_same_step
from benchmarks.steps.optimizers import ADAM, MAIN, Case, case
from benchmarks.steps.plans import SPARSE, TENSORFLOW, Plan
from benchmarks.steps.sizes import TABLE_WIDTH, table_title
from benchmarks.steps.work import LAZY, Work, best, timed

APART = "Adam lazy, table against table"

Makers = Mapping[str, Callable[[], Contender]]


def work(plan: Plan, backend: Any) -> Iterator[Work]:
    for rows in plan.table_rows:
        elements = min(rows, plan.largest_together) * TABLE_WIDTH
        its_floor = bandwidth.floor_of(elements, backend if plan.accelerator else None)
        for equation in MAIN:
            measured = _measure(plan, rows, case(equation), its_floor)
            yield f"{table_title(rows)}, {equation.name}", measured
    yield APART, _measure_apart(plan)


def contenders(case: Case, batches: Batches) -> Makers:
    """Return what makes ours, the built-in, and the peers that are installed."""
    found: dict[str, Callable[[], Contender]] = {
        name: partial(on_tables.of_keras, make, batches)
        for name, make in case.makers_by_rows().items()
    }
    if find_spec("tf_keras"):
        found[peers.LEGACY] = partial(on_tables.legacy, case, batches)
    if find_spec("torch") and case.equation is ADAM:
        found[peers.SPARSE_ADAM] = partial(on_tables.sparse_adam, batches)
    return found


def _measure(plan: Plan, rows: int, case: Case, its_floor: Floor) -> Iterator[Row]:
    batches = Batches(rows, TABLE_WIDTH, plan.touched)
    names = _names(case.name, table_title(rows))
    yield from timed(_samples(plan, contenders(case, batches), rows), **names)
    if case.equation.slots:  # else an absent row does not move
        moves = Moves(batches.distinct(), 1 + case.equation.slots)
        its_floor.try_again(moves)
        # A larger table is as many of the largest that there is room for.
        copies = max(1, rows / plan.largest_together)
        yield best(copies * its_floor.milliseconds(moves), **names)


def _samples(plan: Plan, makers: Makers, rows: int) -> timing.Samples:
    if rows > plan.largest_together:
        return _one_after_the_other(makers, plan.repeats)
    found = {name: make() for name, make in makers.items()}
    check_all_take_the_same_step(found)
    steps = {name: each.step for name, each in found.items()}
    return timing.interleaved(steps, plan.repeats)


def _one_after_the_other(makers: Makers, repeats: timing.Repeats) -> timing.Samples:
    """Time the steps with no more than one contender in memory."""
    samples: dict[str, Sequence[float]] = {}
    for name, make in makers.items():
        samples |= timing.interleaved({name: make().step}, repeats)
        gc.collect()
    return samples


def _measure_apart(plan: Plan) -> Iterator[Row]:
    """Time lazy steps of a large table beside those of a small one."""
    lazy = partial(case(ADAM).ours, sparse_update=LAZY)
    steps = {}
    for rows in plan.far_apart:
        batches = Batches(rows, TABLE_WIDTH, plan.touched)
        steps[table_title(rows)] = on_tables.of_keras(lazy, batches).step
    large, small = steps
    samples = timing.interleaved(steps, plan.repeats)
    yield from timed(samples, [(large, small)], **_names(APART, "both"))


def _names(case: str, size: str) -> dict[str, str]:
    return {"part": SPARSE, "case": case, "backend": TENSORFLOW, "size": size}
