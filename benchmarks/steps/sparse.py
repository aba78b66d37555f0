"""Sparse gradients: a step on TensorFlow against the size of the table it updates."""

import gc
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import keras
import tensorflow as tf

from benchmarks import timing
from benchmarks.machine import cores
from benchmarks.rows import Row
from benchmarks.steps import bandwidth, on_tensorflow, peers
from benchmarks.steps.bandwidth import Floor, Moves
from benchmarks.steps.batches import Batches
from benchmarks.steps.contender import Contender, Work, best, check_same_step, timed
from benchmarks.steps.optimizers import ADAM, EPSILON, LAZY, LEARNING_RATE, MAIN, Case
from benchmarks.steps.plans import SPARSE, TENSORFLOW, Plan
from benchmarks.steps.sizes import TABLE_WIDTH, table_title

APART = "Adam lazy, table against table"
WHERE = {"part": SPARSE, "backend": TENSORFLOW}

Makers = Mapping[str, Callable[[], Contender]]


def work(plan: Plan, backend: Any) -> Iterator[Work]:
    for rows in plan.table_rows:
        elements = min(rows, plan.largest_together) * TABLE_WIDTH
        its_floor = bandwidth.floor_of(elements, backend if plan.accelerator else None)
        for equation in MAIN:
            measured = _measure(plan, rows, Case(equation), its_floor)
            yield f"{table_title(rows)}, {equation.name}", measured
    yield APART, _measure_apart(plan)


def contenders(case: Case, batches: Batches) -> Makers:
    """Return what makes ours, the built-in, and the peers that are installed."""
    found: dict[str, Callable[[], Contender]] = {
        name: partial(_of_keras, make, batches)
        for name, make in case.makers_by_rows().items()
    }
    if find_spec("tf_keras"):
        found[peers.LEGACY] = partial(_legacy, case, batches)
    if find_spec("torch") and case.equation is ADAM:
        found[peers.SPARSE_ADAM] = partial(_sparse_adam, batches)
    return found


def _measure(plan: Plan, rows: int, case: Case, its_floor: Floor) -> Iterator[Row]:
    batches = Batches(rows, TABLE_WIDTH, plan.touched)
    names = {**WHERE, "case": case.name, "size": table_title(rows)}
    makers = contenders(case, batches)
    if rows > plan.largest_together:
        samples = _one_after_the_other(makers, plan.repeats)
    else:
        found = {name: make() for name, make in makers.items()}
        check_same_step(found)
        steps = {name: each.step for name, each in found.items()}
        samples = timing.interleaved(steps, plan.repeats)
    yield from timed(samples, **names)
    if case.equation.slots:  # else an absent row does not move
        moves = Moves(batches.distinct(), 1 + case.equation.slots)
        its_floor.try_again(moves)
        # A larger table is as many of the largest that there is room for.
        copies = max(1, rows / plan.largest_together)
        yield best(copies * its_floor.milliseconds(moves), **names)


def _one_after_the_other(makers: Makers, repeats: timing.Repeats) -> timing.Samples:
    """Time the steps with no more than one contender in memory."""
    samples: dict[str, Sequence[float]] = {}
    for name, make in makers.items():
        samples |= timing.interleaved({name: make().step}, repeats)
        gc.collect()
    return samples


def _measure_apart(plan: Plan) -> Iterator[Row]:
    """Time lazy steps of a large table beside those of a small one."""
    lazy = partial(Case(ADAM).ours, sparse_update=LAZY)
    steps = {}
    for rows in plan.far_apart:
        batches = Batches(rows, TABLE_WIDTH, plan.touched)
        steps[table_title(rows)] = _of_keras(lazy, batches).step
    large, small = steps
    samples = timing.interleaved(steps, plan.repeats)
    yield from timed(samples, [(large, small)], case=APART, size="both", **WHERE)


def _of_keras(make: Callable[[], Any], batches: Batches) -> Contender:
    """Return the step of a new table; each call takes the next batch of rows."""
    table, optimizer = keras.Variable(batches.table), make()
    optimizer.build([table])
    step = _in_turn(lambda rows: optimizer.apply([rows], [table]), batches)
    on_tensorflow.empty_with(step, [table, *optimizer.variables])
    return Contender(step, lambda: on_tensorflow.values_of([table]))


def _legacy(case: Case, batches: Batches) -> Contender:
    table, optimizer = tf.Variable(batches.table), peers.legacy(case)
    step = _in_turn(lambda rows: optimizer.apply_gradients([(rows, table)]), batches)
    return Contender(step, lambda: [table.numpy()])


def _in_turn(update: Callable[[Any], object], batches: Batches) -> timing.Step:
    @tf.function
    def function(ids: Any, values: Any) -> None:
        update(tf.IndexedSlices(values, ids, tf.constant(batches.shape)))

    pool: Iterator[Any] = itertools.cycle(
        [tuple(map(tf.constant, each)) for each in zip(batches.ids, batches.values)]
    )

    def step() -> None:
        function(*next(pool))
        on_tensorflow.wait()

    return step


def _sparse_adam(batches: Batches) -> Contender:
    """The lazy Adam of PyTorch."""
    import torch

    torch.set_num_threads(cores())
    torch.sparse.check_sparse_tensor_invariants.disable()
    table = torch.nn.Parameter(torch.tensor(batches.table))
    optimizer = torch.optim.SparseAdam([table], LEARNING_RATE, eps=EPSILON)
    gradients = [
        torch.sparse_coo_tensor(torch.tensor(ids[None]), values, batches.shape)
        for ids, values in zip(batches.ids, map(torch.tensor, batches.values))
    ]
    pool = itertools.cycle(gradients)

    def step() -> None:
        table.grad = next(pool)
        optimizer.step()

    return Contender(step, lambda: [table.detach().numpy().copy()])
