"""Sparse gradients: a step against the size of the table that it updates."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks import timing
from benchmarks.rows import Row
from benchmarks.steps import bandwidth, names, on_tables, peers
from benchmarks.steps.bandwidth import Floor, Moves
from benchmarks.steps.contender import Contender, check_all_take_the_same_step
from benchmarks.steps.names import BUILTIN, EXACT, FLOOR, LAZY, OURS
from benchmarks.steps.on_tables import Batches
from benchmarks.steps.optimizers import ADAM, MAIN, Case, case
from benchmarks.steps.plans import SPARSE, TABLE_WIDTH, TENSORFLOW, Plan, table_title
from benchmarks.steps.work import Work, against, timed

APART = "Adam lazy, table against table"

Makers = Mapping[str, Callable[[], Contender]]


def work(plan: Plan, backend: Any) -> Iterator[Work]:
    for rows in plan.table_rows:
        elements = min(rows, plan.largest_together) * TABLE_WIDTH
        its_floor = bandwidth.floor_of(elements, backend if plan.accelerator else None)
        for equation in MAIN:
            measure = partial(_measure, plan, rows, case(equation), its_floor)
            yield Work(f"{table_title(rows)}, {equation.name}", measure)
    yield Work(APART, partial(_measure_apart, plan))


def ours(case: Case) -> Mapping[str, Callable[[], Any]]:
    """Return what makes ours, by their sparse meaning; without slots there is one."""
    if not case.equation.slots:
        return {OURS: case.ours}
    return {it: partial(case.ours, sparse_update=it) for it in (EXACT, LAZY)}


def contenders(case: Case, batches: Batches) -> Makers:
    """Return what makes ours, the built-in, and the peers that are installed."""
    optimizers = {**ours(case), BUILTIN: case.builtin}
    found: dict[str, Callable[[], Contender]] = {
        name: partial(_made, make, batches) for name, make in optimizers.items()
    }
    if find_spec("tf_keras"):
        found[peers.LEGACY] = partial(on_tables.legacy, case, batches)
    if find_spec("torch") and case.equation is ADAM:
        found[peers.SPARSE_ADAM] = partial(on_tables.sparse_adam, batches)
    return found


def _made(make: Callable[[], Any], batches: Batches) -> Contender:
    return on_tables.of_keras(make(), batches)


def _measure(plan: Plan, rows: int, case: Case, its_floor: Floor) -> Iterator[Row]:
    batches = Batches(rows, TABLE_WIDTH, plan.touched)
    names_ = _names(case.name, table_title(rows))
    samples = _samples(plan, contenders(case, batches), rows)
    yield from timed(samples, against(ours(case), samples), **names_)
    if case.equation.slots:  # else an absent row does not move
        moves = Moves(batches.distinct(), 1 + case.equation.slots)
        its_floor.try_again(moves)
        # A larger table is as many of the largest that there is room for.
        copies = max(1, rows / plan.largest_together)
        value = copies * its_floor.milliseconds(moves)
        unit = names.MILLISECONDS
        yield Row(subject=FLOOR, quantile=names.BEST, value=value, unit=unit, **names_)


def _samples(plan: Plan, makers: Makers, rows: int) -> timing.Samples:
    if rows > plan.largest_together:
        one = {name: partial(_step_of, make) for name, make in makers.items()}
        return timing.one_after_the_other(one, plan.repeats)
    found = {name: make() for name, make in makers.items()}
    check_all_take_the_same_step(found)
    return timing.interleaved(
        {it: each.step for it, each in found.items()}, plan.repeats
    )


def _step_of(make: Callable[[], Contender]) -> timing.Step:
    return make().step


def _measure_apart(plan: Plan) -> Iterator[Row]:
    """Time lazy steps of a large table beside those of a small one."""
    lazy = ours(case(ADAM))[LAZY]
    steps = {
        table_title(rows): _made(lazy, Batches(rows, TABLE_WIDTH, plan.touched)).step
        for rows in plan.far_apart
    }
    large, small = steps
    samples = timing.interleaved(steps, plan.repeats)
    yield from timed(samples, [(large, small)], **_names(APART, "both"))


def _names(case: str, size: str) -> dict[str, str]:
    return {"part": SPARSE, "case": case, "backend": TENSORFLOW, "size": size}
