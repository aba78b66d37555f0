"""A step of TensorFlow's by rows of a table: ours, the built-in's and peers'."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from benchmarks.machine import cores
from benchmarks.steps import on_tensorflow, peers
from benchmarks.steps.batches import Batches
from benchmarks.steps.contender import Contender
from benchmarks.steps.optimizers import EPSILON, LEARNING_RATE, Case
from benchmarks.timing import Step


def of_keras(make: Callable[[], Any], batches: Batches) -> Contender:
    """Return the step of a new table; each call takes the next batch of rows."""
    table, optimizer = keras.Variable(batches.table), make()
    optimizer.build([table])
    step = _in_turn(lambda rows: optimizer.apply([rows], [table]), batches)
    on_tensorflow.empty_with(step, [table, *optimizer.variables])
    return Contender(step, lambda: on_tensorflow.values_of([table]))


def legacy(case: Case, batches: Batches) -> Contender:
    table, optimizer = tf.Variable(batches.table), peers.legacy(case)
    step = _in_turn(lambda rows: optimizer.apply_gradients([(rows, table)]), batches)
    return Contender(step, lambda: [table.numpy()])


def sparse_adam(batches: Batches) -> Contender:
    """The lazy Adam of PyTorch."""
    import torch

    torch.set_num_threads(cores())
    torch.sparse.check_sparse_tensor_invariants.disable()
    table = torch.nn.Parameter(torch.tensor(batches.table))
    optimizer = torch.optim.SparseAdam([table], LEARNING_RATE, eps=EPSILON)
    pool = itertools.cycle(
        [
            torch.sparse_coo_tensor(
                torch.tensor(ids[None], dtype=torch.int64),
                torch.tensor(values),
                batches.shape,
            )
            for ids, values in zip(batches.ids, batches.values)
        ]
    )

    def step() -> None:
        table.grad = next(pool)
        optimizer.step()

    return Contender(step, lambda: [table.detach().numpy().copy()])


def _in_turn(update: Callable[[Any], object], batches: Batches) -> Step:
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
