"""Sparse gradients: `tf.IndexedSlices`, which embeddings have on TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_textbook_opt.testing import backend, by_hand, problem
from keras_textbook_opt.testing.checks.features import assert_averages
from keras_textbook_opt.testing.comparing import assert_finite, differ, distance
from keras_textbook_opt.testing.problem import SHAPES, TABLE, Rows
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckFailed, CheckSkipped, telling_line

START = problem.values()
EVERY = problem.with_rows(problem.EVERY)
DISTINCT = problem.with_rows(problem.DISTINCT)
REPEATED = problem.with_rows(problem.REPEATED)
SCALE = 8.0
MANY = 1000


def _assert_close(subject: Subject, found: list, expected: list, what: str) -> None:
    subject.assert_close(found, expected, what, steps=len(REPEATED))


def _merged(steps: list[list]) -> list[list]:
    """The same rows, each named once with the sum of its values."""

    def merged(g: Rows) -> Rows:
        rows = np.unique(g.indices)
        return Rows(rows, g.dense(SHAPES["table"])[rows])

    return problem.each_rows(steps, merged)


@promise
def check_sparse_gradients(subject: Subject) -> None:
    """A sparse gradient with every row once gives the step of the dense gradient.

    Why: On TensorFlow an embedding has only sparse gradients.

    Fix: Convert with `tf.convert_to_tensor`, or index the slots with
    `gradient.indices`.
    """
    backend.require("rows")
    try:
        subject.run().follow(EVERY[:1])
    except (NotImplementedError, ValueError) as error:
        raise CheckSkipped(
            f"the optimizer raises on sparse gradients: {telling_line(error)}"
        ) from error
    _assert_close(
        subject,
        subject.after(EVERY),
        subject.after(problem.densified(EVERY)),
        "a sparse gradient with every row vs. the dense gradient",
    )


@promise
def check_sparse_repeated_rows(subject: Subject) -> None:
    """A row that appears twice is updated with the sum of its gradients.

    Why: A word that appears twice in a batch has two rows. The sum of their squares is
    not the square of their sum, and an assignment keeps only the last one.

    Fix: Merge repeated rows before any nonlinear use: `tf.unique` on the indices,
    then `tf.math.unsorted_segment_sum` on the values.
    """
    subject.require_rows()
    _assert_close(
        subject,
        subject.after(REPEATED),
        subject.after(_merged(REPEATED)),
        "repeated rows vs. each row once with its sum",
    )


@promise
def check_sparse_row_order(subject: Subject) -> None:
    """The order of the rows does not matter.

    Why: Words come in any order.

    Fix: Keep each value with its index; do not sort only one of the two.
    """
    subject.require_rows()
    turned = problem.each_rows(
        DISTINCT, lambda g: Rows(g.indices[::-1], g.values[::-1])
    )
    _assert_close(
        subject,
        subject.after(turned),
        subject.after(DISTINCT),
        "rows in reverse order vs. in order",
    )


@promise
def check_sparse_int64_indices(subject: Subject) -> None:
    """Indices may be int32 or int64.

    Why: The dtype of ids comes from the data, and `tf.data` uses int64.

    Fix: Cast indices to one dtype before combining them.
    """
    subject.require_rows()
    wide = problem.each_rows(
        DISTINCT, lambda g: Rows(g.indices.astype("int64"), g.values)
    )
    _assert_close(
        subject,
        subject.after(wide),
        subject.after(DISTINCT),
        "indices of int64 vs. int32",
    )


@promise
def check_sparse_absent_rows(subject: Subject) -> None:
    """An absent row has a gradient of zero (exact), or is not touched (lazy).

    Why: Both are in use; PyTorch's `SparseAdam` is lazy. An optimizer that lets the
    moment decay and does not move the row, or the reverse, is neither.

    Fix: Run the equation on the dense gradient, or read and write only the rows that
    are present, of the variable and of every slot.
    """
    subject.require_rows()
    found = subject.after(DISTINCT)
    exact = subject.after(problem.densified(DISTINCT))
    lazy = _lazily(subject)
    nearest = min((exact, lazy), key=lambda values: distance(found, values))
    meaning = "zero (exact)" if nearest is exact else "not touched (lazy)"
    _assert_close(
        subject,
        found,
        nearest,
        f"a sparse gradient vs. the dense gradient with absent rows {meaning}, the "
        "nearer of the two meanings",
    )


def _lazily(subject: Subject, **options: Any) -> list[np.ndarray]:
    """Dense steps, after each of which absent rows are restored, slots included."""
    run = subject.run(**options).build()
    for step, dense in zip(DISTINCT, problem.densified(DISTINCT)):
        places = [run.variables[TABLE]]
        places += [v for v in run.optimizer.variables if v.shape == SHAPES["table"]]
        before = [backend.numbers(place) for place in places]
        run.step(dense)
        named = np.isin(np.arange(SHAPES["table"][0]), step[TABLE].indices)[:, None]
        for place, old in zip(places, before):
            place.assign(np.where(named, backend.numbers(place), old))
    return run.numbers


@promise
def check_sparse_weight_decay(subject: Subject) -> None:
    """With `weight_decay`, all rows decay; in a lazy optimizer, the rows present do.

    Why: If the step is on all rows and the decay is not, a rare word decays with
    another strength than the given one.

    Fix: Leave the decay to `keras.optimizers.Optimizer`, which decays the variable; a
    lazy class on `TextbookOptimizer` has `sparse_update = "lazy"`, and then decays so.
    """
    subject.require_rows()
    options = {"weight_decay": 0.1 / subject.rate}
    found, dense = subject.after(DISTINCT, **options), problem.densified(DISTINCT)
    if not differ(found, subject.after(DISTINCT)):
        raise CheckSkipped("weight_decay does not change the steps")
    kept = subject.after(DISTINCT)
    candidates = [
        (subject.after(dense), subject.after(dense, **options)),
        (_lazily(subject), _lazily(subject, **options)),
    ]
    nearest = min(distance(kept, values) for values, _ in candidates)
    near = 1e-3 * distance(kept, START)
    meanings = [
        decayed
        for values, decayed in candidates
        if distance(kept, values) <= nearest + near
    ]
    _assert_close(
        subject,
        found,
        min(meanings, key=lambda values: distance(found, values)),
        f"a sparse gradient with weight_decay={options['weight_decay']:.4g} vs. the "
        "dense gradient with absent rows treated as without decay",
    )


@promise
def check_sparse_lazy_cost(subject: Subject) -> None:
    """A lazy step creates no tensor of the size of the whole table.

    Why: Lazy updates are for a table of a million rows and a batch of a thousand.

    Fix: `tf.gather` the rows of the variable and the slots, and write them with
    `scatter_update`.
    """
    subject.require_rows()
    exact = subject.after(problem.densified(DISTINCT))
    sizes = _sizes_of_tensors(subject)
    if distance(subject.after(DISTINCT), exact) <= 1e-3 * distance(exact, START):
        raise CheckSkipped(
            "these steps show no lazy updates; a step on 3 rows of a table of "
            f"{MANY} creates {len(sizes)} tensors of all rows"
        )
    if sizes:
        raise CheckFailed(
            f"Expected a step on 3 rows of a table of {MANY} to create no tensor of "
            f"all rows; it creates {len(sizes)} ({', '.join(sorted(set(sizes)))})."
        )


def _sizes_of_tensors(subject: Subject) -> list[str]:
    """The operations whose result has all rows of a table."""
    tf = backend.tensorflow()
    run = Run(subject.make(), [np.ones((MANY, 2), "float32")]).build()

    def step(indices, values):
        rows = tf.IndexedSlices(values, indices, tf.constant([MANY, 2]))
        run.optimizer.apply([rows], run.variables)

    graph = (
        tf.function(step, autograph=False)
        .get_concrete_function(
            tf.TensorSpec([None], "int32"), tf.TensorSpec([None, 2], "float32")
        )
        .graph
    )
    return [
        op.type
        for op in graph.get_operations()
        for output in op.outputs
        if op.type != "ReadVariableOp" and output.shape.rank and output.shape[0] == MANY
    ]


@promise
def check_sparse_empty_gradient(subject: Subject) -> None:
    """A sparse gradient without rows is accepted, and the other variables are updated.

    Why: A batch in which every word is masked has such a gradient.

    Fix: Look at what divides by the number of rows.
    """
    subject.require_rows()
    subject.require_local()
    none = Rows(np.zeros(0, "int32"), np.zeros((0, SHAPES["table"][1]), "float32"))
    steps = [DISTINCT[0], [*DISTINCT[1][:TABLE], none], DISTINCT[2]]
    run, zeros = subject.run().build(), subject.run().build()
    run.follow(steps)
    zeros.follow(problem.densified(steps))
    assert_finite(run.numbers, "a step without rows")
    subject.assert_close(
        run.numbers[:TABLE],
        zeros.numbers[:TABLE],
        "variables next to a table without rows vs. dense steps",
        steps=3,
        start=START[:TABLE],
    )


def _assert_clips_rows(subject: Subject, clip: dict[str, Any]) -> None:
    """Clipped by the optimizer vs. rows merged and clipped by hand."""
    subject.require_rows()
    by_rows = []
    for step in _merged(REPEATED):
        arrays = [g.values if isinstance(g, Rows) else g for g in step]
        clipped = by_hand.clipped(arrays, clip)
        rows = Rows(step[TABLE].indices, clipped[TABLE].astype("float32"))
        by_rows.append([*clipped[:TABLE], rows])
    _assert_close(
        subject,
        subject.after(REPEATED, **clip),
        subject.after(by_rows),
        f"{by_hand.written(clip)} on repeated rows vs. rows merged and clipped by hand",
    )


CLIPNORM, CLIPVALUE, GLOBAL_CLIPNORM = by_hand.CLIPS


@promise
def check_sparse_clipnorm(subject: Subject) -> None:
    """`clipnorm` uses the norm of the merged rows.

    Why: If repeated rows are counted one by one, the norm, and the step, is smaller or
    larger than that of the gradient.

    Fix: Merge repeated rows before the clip.
    """
    _assert_clips_rows(subject, CLIPNORM)


@promise
def check_sparse_clipvalue(subject: Subject) -> None:
    """`clipvalue` clips the sum of repeated rows.

    Why: The sum of two clipped rows can be twice the bound.

    Fix: Merge repeated rows before the clip.
    """
    _assert_clips_rows(subject, CLIPVALUE)


@promise
def check_sparse_global_clipnorm(subject: Subject) -> None:
    """`global_clipnorm` uses the norm of the merged rows.

    Why: Repeated rows of one table change every variable's step.

    Fix: Merge repeated rows before the clip.
    """
    _assert_clips_rows(subject, GLOBAL_CLIPNORM)


@promise
def check_sparse_loss_scale(subject: Subject) -> None:
    """`loss_scale_factor` works on sparse gradients.

    Why: Mixed precision with an embedding needs both.

    Fix: Divide the values of `tf.IndexedSlices`: the object itself has no division.
    """
    subject.require_rows()
    scaled = problem.scaled(REPEATED, SCALE)
    _assert_close(
        subject,
        subject.after(scaled, loss_scale_factor=SCALE),
        subject.after(REPEATED),
        f"loss_scale_factor={SCALE} on scaled rows vs. no scale",
    )


@promise
def check_sparse_gradient_accumulation(subject: Subject) -> None:
    """Two accumulated calls on sparse gradients are a step on their mean.

    Why: The two batches have different rows.

    Fix: Add rows to a dense accumulator, or keep the rows of both.
    """
    subject.require_rows()
    run = subject.run(gradient_accumulation_steps=2).build()
    run.follow(REPEATED[:4])
    dense = problem.densified(REPEATED)
    means = [[(a + b) / 2 for a, b in zip(*dense[k : k + 2])] for k in (0, 2)]
    exact = subject.after(means)
    touched = [
        np.unique(np.concatenate([step[TABLE].indices for step in REPEATED[k : k + 2]]))
        for k in (0, 2)
    ]
    by_rows = [
        [*mean[:TABLE], Rows(rows.astype("int32"), mean[TABLE][rows])]
        for mean, rows in zip(means, touched)
    ]
    candidates = [exact, subject.after(by_rows)]
    nearest = min(candidates, key=lambda values: distance(run.numbers, values))
    _assert_close(
        subject,
        run.numbers,
        nearest,
        "accumulated sparse gradients vs. a step on their mean",
    )


@promise
def check_sparse_ema(subject: Subject) -> None:
    """With `use_ema` every row is averaged, also rows that are absent from a batch.

    Why: The average of a row must not depend on how often it appears.

    Fix: Average the variable, not the rows of the gradient.
    """
    subject.require_rows()
    assert_averages(subject, REPEATED, " on sparse gradients")
