"""Gradients by rows: `tf.IndexedSlices`, as an embedding of TensorFlow hands them."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_textbook_opt.testing import backend, by_hand, problem
from keras_textbook_opt.testing.comparing import assert_meet, differ, distance, failure
from keras_textbook_opt.testing.problem import SHAPES, TABLE, Rows
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckSkipped, telling_line

START = problem.values()
EVERY = problem.with_rows(problem.EVERY)
DISTINCT = problem.with_rows(problem.DISTINCT)
REPEATED = problem.with_rows(problem.REPEATED)
SCALE = 8.0
MANY = 1000


def _assert_meet(subject: Subject, found: list, expected: list, what: str) -> None:
    assert_meet(found, expected, START, what, steps=len(REPEATED), noise=subject.noise)


def _merged(steps: list[list]) -> list[list]:
    """The same rows, each named once with the sum of its values."""
    return [
        [
            Rows(rows := np.unique(g.indices), g.dense(SHAPES["table"])[rows])
            if isinstance(g, Rows)
            else g
            for g in step
        ]
        for step in steps
    ]


@promise
def check_rows_are_taken(subject: Subject) -> None:
    """A gradient that names every row once gives the step of the dense gradient.

    Why: An embedding has no other gradients on TensorFlow. What every row is named in
    is the dense gradient, written in another way.

    Mend: Convert with `tf.convert_to_tensor`, or index the slots with
    `gradient.indices`.
    """
    backend.want("rows")
    try:
        subject.run().follow(EVERY[:1])
    except (NotImplementedError, ValueError) as error:
        raise CheckSkipped(
            f"waits for an optimizer that takes rows: {telling_line(error)}"
        ) from error
    _assert_meet(
        subject,
        subject.after(EVERY),
        subject.after(problem.densified(EVERY)),
        "every row named once, and the dense gradient",
    )


@promise
def check_repeated_rows_are_summed(subject: Subject) -> None:
    """A row that is named twice steps as its sum named once.

    Why: A word that stands twice in a batch is named twice. `g²` of each and then the
    sum is not the square of the sum, and an assignment keeps the last one alone.

    Mend: Merge repeats before anything that is not linear: `tf.unique` on the indices,
    then `tf.math.unsorted_segment_sum` on the values.
    """
    subject.want_rows()
    _assert_meet(
        subject,
        subject.after(REPEATED),
        subject.after(_merged(REPEATED)),
        "repeated rows, and each row once with its sum",
    )


@promise
def check_rows_in_any_order(subject: Subject) -> None:
    """The order in which rows are named does not matter.

    Why: Words stand in any order.

    Mend: Take the values together with their indices; do not sort one alone.
    """
    subject.want_rows()
    turned = [
        [
            Rows(g.indices[::-1], g.values[::-1]) if isinstance(g, Rows) else g
            for g in step
        ]
        for step in DISTINCT
    ]
    _assert_meet(
        subject,
        subject.after(turned),
        subject.after(DISTINCT),
        "rows from the last to the first, and from the first to the last",
    )


@promise
def check_rows_named_in_int64(subject: Subject) -> None:
    """Rows may be named in int32 or in int64.

    Why: Ids come as the data have them, and `tf.data` has int64.

    Mend: Cast indices to one dtype where they meet others.
    """
    subject.want_rows()
    wide = [
        [
            Rows(g.indices.astype("int64"), g.values) if isinstance(g, Rows) else g
            for g in s
        ]
        for s in DISTINCT
    ]
    _assert_meet(
        subject,
        subject.after(wide),
        subject.after(DISTINCT),
        "rows named in int64, and in int32",
    )


@promise
def check_absent_rows_have_one_meaning(subject: Subject) -> None:
    """A row that is not named has a gradient of zero, or is left alone: one of the two.

    Why: Both are in use (exact, and lazy as PyTorch's `SparseAdam`). An optimizer that
    lets the moment decay and does not move the row, or the reverse, is neither.

    Mend: Run the equation on the dense gradient, or read and write the rows named of
    the variable and of every slot.
    """
    subject.want_rows()
    found = subject.after(DISTINCT)
    exact = subject.after(problem.densified(DISTINCT))
    lazy = _lazily(subject)
    nearest = min((exact, lazy), key=lambda road: distance(found, road))
    meaning = "zeros (exact)" if nearest is exact else "rows to leave alone (lazy)"
    _assert_meet(
        subject,
        found,
        nearest,
        f"rows, and the dense gradient with absent rows taken for {meaning}, the "
        "nearer of the two meanings",
    )


def _lazily(subject: Subject, **options: Any) -> list[np.ndarray]:
    """Dense steps, after each of which absent rows are put back, slots included."""
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
def check_rows_decay(subject: Subject) -> None:
    """With `weight_decay` all rows decay, or the rows named where absent ones are left.

    Why: Where the step is one of all rows and the decay is not, a rare word decays by
    another strength than the one that was set.

    Mend: Leave the decay to `keras.optimizers.Optimizer`, which decays the variable; a
    lazy class on `TextbookOptimizer` has `sparse_update = "lazy"`, and then decays so.
    """
    subject.want_rows()
    options = {"weight_decay": 0.1 / subject.rate}
    found, dense = subject.after(DISTINCT, **options), problem.densified(DISTINCT)
    if not differ(found, subject.after(DISTINCT)):
        raise CheckSkipped(
            "waits for an optimizer whose steps change with weight_decay"
        )
    kept = subject.after(DISTINCT)
    roads = [
        (subject.after(dense), subject.after(dense, **options)),
        (_lazily(subject), _lazily(subject, **options)),
    ]
    nearest = min(distance(kept, road) for road, _ in roads)
    near = 1e-3 * distance(kept, START)
    meanings = [
        decayed for road, decayed in roads if distance(kept, road) <= nearest + near
    ]
    _assert_meet(
        subject,
        found,
        min(meanings, key=lambda road: distance(found, road)),
        f"rows with weight_decay={options['weight_decay']:.4g}, and the dense gradient "
        "with absent rows taken as they are without decay",
    )


@promise
def check_a_lazy_step_costs_the_rows_named(subject: Subject) -> None:
    """Where absent rows are left alone, a step makes no tensor of the whole table.

    Why: It is what lazy updates are for: a table of a million rows, a batch of a
    thousand.

    Mend: `tf.gather` the rows of the variable and the slots, and write them with
    `scatter_update`.
    """
    subject.want_rows()
    exact = subject.after(problem.densified(DISTINCT))
    sizes = _sizes_of_tensors(subject)
    if distance(subject.after(DISTINCT), exact) < 1e-3 * distance(exact, START):
        raise CheckSkipped(
            "waits for an optimizer that leaves absent rows alone where the dense "
            f"gradient would move them; a step of this one on 3 rows of a table of "
            f"{MANY} makes {len(sizes)} tensors of all rows"
        )
    if sizes:
        raise failure(
            f"Expected a step on 3 rows of a table of {MANY} to make no tensor of all "
            f"rows; came {len(sizes)} ({', '.join(sorted(set(sizes)))}), with rows",
            MANY - 3,
            3,
        )


def _sizes_of_tensors(subject: Subject) -> list[str]:
    """The operations whose result has all rows of a table."""
    tf = backend.tensorflow()
    run = Run(subject.make(), [np.ones((MANY, 2), "float32")]).build()

    def step(indices, values):
        rows = tf.IndexedSlices(values, indices, tf.constant([MANY, 2]))
        run.optimizer.apply([rows], run.variables)

    graph = (
        tf.function(step)
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
def check_a_step_without_rows(subject: Subject) -> None:
    """A gradient that names no row is no error; it is zeros, or leaves the table alone.

    Why: A batch of which every word is masked has such a gradient.

    Mend: Look at what divides by the number of rows.
    """
    subject.want_rows()
    none = Rows(np.zeros(0, "int32"), np.zeros((0, SHAPES["table"][1]), "float32"))
    steps = [DISTINCT[0], [*DISTINCT[1][:TABLE], none], DISTINCT[2]]
    run, zeros = subject.run().build(), subject.run().build()
    run.follow(steps)
    zeros.follow(problem.densified(steps))
    if not all(np.isfinite(values).all() for values in run.numbers):
        raise failure(
            "Expected finite variables after a step that names no row; came "
            f"{run.numbers[TABLE].tolist()}",
            distance(run.numbers, START),
            subject.movement,
        )
    assert_meet(
        run.numbers[:TABLE],
        zeros.numbers[:TABLE],
        START[:TABLE],
        "the variables beside a table of which no row is named, and dense steps",
        steps=3,
        noise=subject.noise,
    )


def _assert_clips_rows(subject: Subject, clip: dict[str, Any]) -> None:
    """Clipped by the optimizer, and each row summed once and clipped by hand."""
    subject.want_rows()
    by_rows = []
    for step in _merged(REPEATED):
        arrays = [g.values if isinstance(g, Rows) else g for g in step]
        clipped = by_hand.clipped(arrays, clip)
        rows = Rows(step[TABLE].indices, clipped[TABLE].astype("float32"))
        by_rows.append([*clipped[:TABLE], rows])
    _assert_meet(
        subject,
        subject.after(REPEATED, **clip),
        subject.after(by_rows),
        f"{clip} on repeated rows, and rows summed and then clipped by hand",
    )


CLIPNORM, CLIPVALUE, GLOBAL_CLIPNORM = by_hand.CLIPS


@promise
def check_clipnorm_on_repeated_rows(subject: Subject) -> None:
    """The norm of a gradient by rows is that of the rows summed.

    Why: The norm of repeats that are counted one by one is smaller or larger than that
    of the gradient, and the step with it.

    Mend: Merge repeats before the clip.
    """
    _assert_clips_rows(subject, CLIPNORM)


@promise
def check_clipvalue_on_repeated_rows(subject: Subject) -> None:
    """What is clipped to `[−c, c]` is the sum of the repeats.

    Why: Two repeats that are clipped one by one sum up to twice the bound.

    Mend: Merge repeats before the clip.
    """
    _assert_clips_rows(subject, CLIPVALUE)


@promise
def check_global_clipnorm_on_repeated_rows(subject: Subject) -> None:
    """The norm over all gradients counts each row once, with its sum.

    Why: As for `clipnorm`; here the repeats of one table change every variable's step.

    Mend: Merge repeats before the clip.
    """
    _assert_clips_rows(subject, GLOBAL_CLIPNORM)


@promise
def check_the_loss_scale_of_rows_is_undone(subject: Subject) -> None:
    """`loss_scale_factor` works on rows as on dense gradients.

    Why: Mixed precision with an embedding needs both.

    Mend: Divide the values of `tf.IndexedSlices`: the object itself has no division.
    """
    subject.want_rows()
    scaled = [
        [
            Rows(g.indices, SCALE * g.values) if isinstance(g, Rows) else SCALE * g
            for g in step
        ]
        for step in REPEATED
    ]
    _assert_meet(
        subject,
        subject.after(scaled, loss_scale_factor=SCALE),
        subject.after(REPEATED),
        f"loss_scale_factor={SCALE} on scaled rows, and plain steps",
    )


@promise
def check_rows_accumulate(subject: Subject) -> None:
    """Two accumulated calls on rows are a step on the mean of the two gradients.

    Why: The two batches name different rows.

    Mend: Add rows into a dense accumulator, or keep the rows of both.
    """
    subject.want_rows()
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
    roads = [exact, subject.after(by_rows)]
    nearest = min(roads, key=lambda road: distance(run.numbers, road))
    _assert_meet(
        subject, run.numbers, nearest, "accumulated rows, and a step on their mean"
    )


@promise
def check_rows_are_averaged(subject: Subject) -> None:
    """With `use_ema` every row has its average, also those that a batch does not name.

    Why: An average that is computed on the rows named alone is no average of the rest.

    Mend: Average the variable, not the gradient's rows.
    """
    subject.want_rows()
    options = {"use_ema": True, "ema_momentum": 0.5}
    plain, averaging = subject.run(), subject.run(**options)
    averages: list | None = None
    for step in REPEATED:
        plain.step(step)
        averaging.step(step)
        averages = by_hand.average(averages, plain.numbers, 0.5)
    averaging.optimizer.finalize_variable_values(averaging.variables)
    _assert_meet(
        subject,
        averaging.numbers,
        averages or [],
        "the weights at the end of training on rows, and their averages by hand",
    )
