"""A step of TensorFlow's by rows of a table: ours, the built-in's and peers'."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.machine import cores
from benchmarks.steps import on_tensorflow, peers
from benchmarks.steps.bandwidth import Work
from benchmarks.steps.contender import Contender
from benchmarks.steps.optimizers import EPSILON, LEARNING_RATE, Case

# Norms beyond the clips' limit for every size that is measured.
GRADIENT_SCALE = 0.05
POOL = 64


@dataclass(frozen=True)
class Batches:
    """Gradients of one table: in each the ids that a batch looks up, a row for each.

    The first looks up each id once, which is where all optimizers agree.
    """

    rows: int
    width: int
    touched: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.width

    @cached_property
    def ids(self) -> list[np.ndarray]:
        random = np.random.default_rng(0)
        first = random.choice(self.rows, self.touched, replace=False).astype(np.int32)
        return [first, *zipf(self.rows, (POOL - 1, self.touched), random)]

    @cached_property
    def values(self) -> list[np.ndarray]:
        draw = np.random.default_rng(1).standard_normal
        shape = self.touched, self.width
        return [np.float32(GRADIENT_SCALE) * draw(shape, np.float32) for _ in self.ids]

    @cached_property
    def table(self) -> np.ndarray:
        return np.random.default_rng(2).standard_normal(self.shape, np.float32)

    def distinct(self) -> float:
        """Return the share of the rows that a batch touches, the median of all."""
        return float(np.median([len(np.unique(ids)) for ids in self.ids])) / self.rows


def zipf(
    rows: int, shape: tuple[int, ...], generator: np.random.Generator
) -> np.ndarray:
    """Return row numbers, of which the k-th most frequent comes as 1/k.

    The frequent rows lie scattered in the table.
    """
    ranks = np.floor((rows + 1) ** generator.random(shape)).astype(np.int64) - 1
    return generator.permutation(rows)[np.minimum(ranks, rows - 1)].astype(np.int32)


def of_keras(optimizer: Any, batches: Batches) -> Contender:
    """Return the step of a new table; each call takes the next batch of rows."""
    table = keras.Variable(batches.table)
    optimizer.build([table])

    def update(rows: Any) -> None:
        optimizer.apply([rows], [table])

    step = _in_turn(update, batches)
    on_tensorflow.empty_with(step, [table, *optimizer.variables])
    return Contender(step, lambda: on_tensorflow.values_of([table]))


def legacy(case: Case, batches: Batches) -> Contender:
    table, optimizer = tf.Variable(batches.table), peers.legacy(case)

    def update(rows: Any) -> None:
        optimizer.apply_gradients([(rows, table)])

    return Contender(_in_turn(update, batches), lambda: [table.numpy()])


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


def _in_turn(update: Callable[[Any], object], batches: Batches) -> Work:
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
