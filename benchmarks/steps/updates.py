"""One call that takes one step of an optimizer and waits for it."""

import itertools
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.steps.timing import Step
from keras_textbook_opt.callbacks import watch

# Norms beyond the clips' limit for every size that is measured.
GRADIENT_SCALE = 0.05
POOL = 64


def gradients(shapes: Sequence[tuple[int, ...]]) -> list[tf.Tensor]:
    return [tf.random.normal(shape, stddev=GRADIENT_SCALE) for shape in shapes]


def dense_step(
    optimizer: Any, gradients: Sequence[tf.Tensor], *, jit_compile: bool
) -> Step:
    """Return the step of new variables of the gradients' shapes."""
    variables = _built(optimizer, gradients)
    return _dense_step(optimizer, gradients, variables, jit_compile)


def watched_step(
    optimizer: Any, gradients: Sequence[tf.Tensor], *, jit_compile: bool
) -> Step:
    """Return the same with what it leaves for a monitor, compiled at once."""
    variables = _built(optimizer, gradients)
    with watch(optimizer):
        step = _dense_step(optimizer, gradients, variables, jit_compile)
        step()
    return step


def _built(optimizer: Any, gradients: Sequence[tf.Tensor]) -> list[keras.Variable]:
    variables = [
        keras.Variable(tf.random.normal(g.shape), name=f"variable_{k}")
        for k, g in enumerate(gradients)
    ]
    optimizer.build(variables)
    return variables


def _dense_step(
    optimizer: Any,
    gradients: Sequence[tf.Tensor],
    variables: Sequence[keras.Variable],
    jit_compile: bool,
) -> Step:
    held = [*variables, *optimizer.variables]

    @tf.function(jit_compile=jit_compile)
    def update(gradients):
        optimizer.apply(gradients, variables)

    def step() -> None:
        update(gradients)
        optimizer.iterations.numpy()

    empty_with(step, held)
    return step


def empty_with(step: Step, variables: Iterable[keras.Variable]) -> None:
    """Give back the variables' memory when the step is no longer in use.

    TensorFlow keeps a variable of Keras's optimizers beyond the last reference to it.
    """
    handles = [(variable.value.handle, variable.dtype) for variable in variables]
    weakref.finalize(step, _empty, handles)


def _empty(handles: Iterable[tuple[tf.Tensor, str]]) -> None:
    for handle, dtype in handles:
        tf.raw_ops.AssignVariableOp(
            resource=handle, value=tf.zeros(0, dtype), validate_shape=False
        )


@dataclass(frozen=True)
class RowBatches:
    """Gradients of one table: the ids that a batch looks up, and a row for each."""

    shape: tuple[int, int]
    ids: tf.Tensor
    values: tf.Tensor

    @property
    def distinct_rows(self) -> int:
        """The number of different ids in a batch, the median over the batches."""
        return int(np.median([len(np.unique(ids)) for ids in self.ids.numpy()]))


def row_batches(rows: int, width: int, touched: int) -> RowBatches:
    generator = np.random.default_rng(0)
    ids = zipf(rows, (POOL, touched), generator)
    values = tf.random.normal((POOL, touched, width), stddev=GRADIENT_SCALE)
    return RowBatches((rows, width), tf.constant(ids), values)


def zipf(
    rows: int, shape: tuple[int, ...], generator: np.random.Generator
) -> np.ndarray:
    """Return row numbers, of which the k-th most frequent comes as 1/k.

    The frequent rows lie scattered in the table.
    """
    ranks = np.floor((rows + 1) ** generator.random(shape)).astype(np.int64) - 1
    return generator.permutation(rows)[np.minimum(ranks, rows - 1)].astype(np.int32)


def sparse_step(optimizer: Any, batches: RowBatches) -> Step:
    """Return the step of a new table; each call takes the next batch of rows."""
    table = keras.Variable(tf.random.normal(batches.shape))
    optimizer.build([table])

    @tf.function
    def update(ids, values):
        slices = tf.IndexedSlices(values, ids, tf.constant(batches.shape))
        optimizer.apply([slices], [table])

    pool = itertools.cycle(
        list(zip(tf.unstack(batches.ids), tf.unstack(batches.values)))
    )

    def step() -> None:
        update(*next(pool))
        optimizer.iterations.numpy()

    empty_with(step, [table, *optimizer.variables])
    return step
