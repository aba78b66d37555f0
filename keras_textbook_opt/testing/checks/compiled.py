"""Compiled steps and `Model.fit`: the same results as eager steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_textbook_opt.testing import backend, by_hand, problem
from keras_textbook_opt.testing.comparing import (
    assert_close,
    assert_same,
    differ,
    distance,
    failure,
)
from keras_textbook_opt.testing.linear import LinearModel
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckSkipped

STEPS = problem.gradients()
AVERAGING: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5}


@promise
def check_compiled_steps(subject: Subject) -> None:
    """Steps that are compiled, as in `Model.fit`, equal eager steps.

    Why: A Python number or a Python branch is frozen when a step is compiled: the first
    step is right, and the second repeats it.

    Fix: Keep no Python value that changes from step to step: read `self.iterations`,
    and branch with `ops.where` or `ops.cond`.
    """
    _assert_compiled_is_eager(subject, backend.compiled, STEPS)


@promise
def check_compiled_clips(subject: Subject) -> None:
    """Compiled steps equal eager steps with each clip.

    Why: A graph may compute a norm by other operations.

    Fix: Leave clipping to `keras.optimizers.Optimizer`, or use only `keras.ops`.
    """
    for clip in by_hand.CLIPS:
        _assert_compiled_is_eager(subject, backend.compiled, STEPS, **clip)


@promise
def check_compiled_gradient_accumulation(subject: Subject) -> None:
    """Compiled steps equal eager steps with gradient accumulation.

    Why: Whether a call updates is a branch on a variable; a Python `if` repeats the
    branch of the first call.

    Fix: Leave the branch to `keras.optimizers.Optimizer`.
    """
    options = {"gradient_accumulation_steps": 2}
    _assert_compiled_is_eager(subject, backend.compiled, STEPS, **options)


@promise
def check_compiled_ema(subject: Subject) -> None:
    """Compiled steps equal eager steps with `ema_overwrite_frequency`.

    Why: It is a branch on a variable, like accumulation.

    Fix: Leave the averages to `keras.optimizers.Optimizer`.
    """
    options = {**AVERAGING, "ema_overwrite_frequency": 2}
    _assert_compiled_is_eager(subject, backend.compiled, STEPS, **options)


@promise
def check_compiled_sparse_gradients(subject: Subject) -> None:
    """Compiled steps equal eager steps on sparse gradients with repeated rows.

    Why: Embeddings are trained in compiled steps.

    Fix: Use `tf.unique` and segment sums, which work in graphs.
    """
    subject.require_rows()
    _assert_compiled_is_eager(
        subject, backend.compiled, problem.with_rows(problem.REPEATED)
    )


@promise
def check_xla_steps(subject: Subject) -> None:
    """Steps that XLA compiles (`jit_compile=True`) equal eager steps.

    Why: `Model.compile` chooses XLA on a GPU.

    Fix: Use operations whose shapes are known before the step runs.
    """
    _assert_compiled_is_eager(subject, backend.xla, STEPS)
    _assert_compiled_is_eager(subject, backend.xla, STEPS, clipnorm=0.5)


def _assert_compiled_is_eager(
    subject: Subject, mode: Callable, steps: list, **options: Any
) -> None:
    given = f" with {by_hand.written(options)}" if options else ""
    subject.assert_close(
        Run(subject.make(**options), mode=mode).follow(steps).numbers,
        subject.after(steps, **options),
        f"{mode.__name__} steps vs. eager steps{given}",
        steps=len(steps),
    )


@promise
def check_compiled_learning_rate_can_be_set(subject: Subject) -> None:
    """A learning rate that is set between compiled steps is followed.

    Why: `ReduceLROnPlateau` sets it after an epoch, when the step is compiled.

    Fix: Use the rate that `update_step` receives; compute nothing from it in
    `__init__` or `build`.
    """
    compiled, eager = (
        _after_a_new_rate(subject, mode) for mode in (backend.compiled, backend.eager)
    )
    if not differ(eager, subject.after(STEPS)):
        raise CheckSkipped("the steps do not depend on the learning rate")
    what = "compiled steps vs. eager steps with a rate that is set in between"
    subject.assert_close(compiled, eager, what, steps=len(STEPS))


def _after_a_new_rate(subject: Subject, mode: Callable) -> list[np.ndarray]:
    run = Run(subject.make(), mode=mode).build().follow(STEPS[:3])
    run.optimizer.learning_rate = subject.rate / 8
    return run.follow(STEPS[3:]).numbers


@promise
def check_learning_rate_schedule(subject: Subject) -> None:
    """A schedule sets the rate of each step, eager or compiled, from step 0 on.

    Why: Warm-ups and decays are schedules.

    Fix: Use the rate that `update_step` receives.
    """
    rates = [subject.rate * factor for factor in (1.0, 0.25, 0.5)]
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1, 3], rates)
    expected = subject.run(learning_rate=rates[0]).build()
    for t, gradients in enumerate(STEPS):
        # PiecewiseConstantDecay has the first rate up to and with its first boundary.
        expected.optimizer.learning_rate = rates[0 if t <= 1 else 1 if t <= 3 else 2]
        expected.step(gradients)
    modes = [backend.eager]
    modes += [backend.compiled] if "graph" in backend.TRAITS[backend.NAME] else []
    for mode in modes:
        run = Run(subject.make(learning_rate=schedule), mode=mode)
        found = run.follow(STEPS).numbers
        what = f"a schedule ({mode.__name__}) vs. its rates set by hand"
        subject.assert_close(found, expected.numbers, what, steps=len(STEPS))


@promise
def check_stateless_apply(subject: Subject) -> None:
    """On JAX `stateless_apply` computes the same as `apply`, and assigns nothing.

    Why: A training loop on JAX is a function from state to state. A side assignment
    leaks a tracer.

    Fix: Read and write state only through the optimizer's variables.
    """
    backend.require("stateless")
    run, twin = subject.run().build(), subject.run().build()
    twin.follow(STEPS[:2])
    run.follow(STEPS[:2])
    before = [*run.numbers, *run.state]
    θ, state = run.optimizer.stateless_apply(
        [v.value for v in run.optimizer.variables],
        run.tensors(STEPS[2]),
        [v.value for v in run.variables],
    )
    if differ([*run.numbers, *run.state], before):
        raise failure(
            "Expected `stateless_apply` to return new values and assign none; it "
            "changes variables",
            distance([*run.numbers, *run.state], before),
            subject.movement,
        )
    twin.step(STEPS[2])
    names = [*problem.NAMES, *(v.path for v in run.optimizer.variables)]
    assert_same(
        [backend.numbers(value) for value in [*θ, *state]],
        [*twin.numbers, *twin.state],
        "`stateless_apply` vs. `apply`",
        start=before,
        names=names,
    )


@promise
def check_fit(subject: Subject) -> None:
    """`Model.fit`, called twice, takes the same steps as a custom loop.

    Why: Most models are trained by `fit`.

    Fix: Look at the checks of compiled steps first; override as little of `apply` as
    possible.
    """
    loop = LinearModel()
    run = Run(subject.make(), loop.values)
    for _ in range(2):
        for batch in loop.batches:
            run.step(loop.gradients(run.numbers, batch))
        run.optimizer.finalize_variable_values(run.variables)
    _assert_two_fits(subject, {}, run.numbers, "fit twice vs. a loop")


@promise
def check_fit_gradient_accumulation(subject: Subject) -> None:
    """`Model.fit` with `gradient_accumulation_steps` equals a loop on the means.

    Why: A batch that does not fit into memory is accumulated from smaller ones.

    Fix: Leave the accumulation to `keras.optimizers.Optimizer`.
    """
    loop = LinearModel()
    run = Run(subject.make(), loop.values)
    for _ in range(2):
        for pair in zip(loop.batches[::2], loop.batches[1::2]):
            both = [loop.gradients(run.numbers, batch) for batch in pair]
            run.step([np.mean(of_one, axis=0) for of_one in zip(*both)])
        run.optimizer.finalize_variable_values(run.variables)
    options = {"gradient_accumulation_steps": 2}
    _assert_two_fits(subject, options, run.numbers, "fit with accumulation vs. a loop")


@promise
def check_fit_ema(subject: Subject) -> None:
    """`Model.fit` with `use_ema`, called twice, ends at the averages both times.

    Why: The second `fit` starts from the averages of the first. On JAX both must not
    share a buffer.

    Fix: Copy the average into the variable; do not share its buffer.
    """
    loop = LinearModel()
    run = Run(subject.make(), loop.values)
    averages: list = []
    for _ in range(2):
        for batch in loop.batches:
            run.step(loop.gradients(run.numbers, batch))
            averages = by_hand.average(averages, run.numbers, 0.5)
        run.assign(averages)
    _assert_two_fits(subject, AVERAGING, run.numbers, "fit with use_ema vs. a loop")


def _assert_two_fits(
    subject: Subject, options: dict[str, Any], expected: list, what: str
) -> None:
    model = LinearModel()
    optimizer = subject.make(**options)
    model.fit(optimizer).fit(optimizer)
    _assert_model_is_run(subject, model, expected, what)


def _assert_model_is_run(
    subject: Subject, model: LinearModel, expected: list, what: str
) -> None:
    # The loop's gradients are computed in float64: each is off by rounding.
    assert_close(
        model.numbers,
        expected,
        what,
        steps=2 * len(model.batches),
        noise=4 * subject.noise,
        start=model.values,
        names=model.names,
    )


@promise
def check_fit_ema_frozen_layer(subject: Subject) -> None:
    """A layer that is frozen between two `fit`s with `use_ema` keeps its weights.

    Why: Fine-tuning freezes layers. Averages that are found by their position in a list
    are then written to another layer, without an error.

    Fix: Find an average by its variable, not by its position.
    """
    backend.require("freezing")
    model = LinearModel()
    optimizer = subject.make(**AVERAGING)
    model.fit(optimizer)
    frozen = model.numbers
    model.freeze_the_first()
    model.fit(optimizer)
    loop = Run(subject.make(), model.values)
    averages: list = []
    for batch in model.batches:
        loop.step(model.gradients(loop.numbers, batch))
        averages = by_hand.average(averages, loop.numbers, 0.5)
    loop.assign(averages)
    for batch in model.batches:
        gradients = model.gradients(loop.numbers, batch)
        loop.step([None, None, *gradients[2:]])
        averages = by_hand.average(averages, loop.numbers, 0.5)
    expected = [*frozen[:2], *averages[2:]]
    _assert_model_is_run(
        subject, model, expected, "fit with the first layer frozen vs. a loop"
    )
