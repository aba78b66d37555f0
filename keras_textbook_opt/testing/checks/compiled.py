"""Compiled steps, and the loops of Keras: the same numbers as eager steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_textbook_opt.testing import backend, by_hand, problem
from keras_textbook_opt.testing.comparing import (
    assert_meet,
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
START = problem.values()
AVERAGING: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5}


@promise
def check_compiled_steps_are_eager_steps(subject: Subject) -> None:
    """Compiled, as `Model.fit` does it, steps are those taken one operation at a time.

    Why: A Python number or a branch in Python is frozen when a step is compiled: the
    first step is right and the second is the first once more.

    Mend: Let nothing that changes from step to step be a Python value: read
    `self.iterations`, and branch with `ops.where` or `ops.cond`.
    """
    _assert_compiled_is_eager(subject, backend.compiled, STEPS)


@promise
def check_compiled_clips_are_eager_clips(subject: Subject) -> None:
    """The same under each clip.

    Why: A norm is computed by other operations in a graph than eagerly.

    Mend: Leave the clips to `keras.optimizers.Optimizer`, or use `keras.ops` alone.
    """
    for clip in by_hand.CLIPS:
        _assert_compiled_is_eager(subject, backend.compiled, STEPS, **clip)


@promise
def check_compiled_accumulation_is_eager(subject: Subject) -> None:
    """The same where gradients accumulate.

    Why: Whether this call updates is a branch on a variable; a Python `if` takes the
    branch of the first call forever.

    Mend: Leave the branch to `keras.optimizers.Optimizer`.
    """
    options = {"gradient_accumulation_steps": 2}
    _assert_compiled_is_eager(subject, backend.compiled, STEPS, **options)


@promise
def check_compiled_averages_are_eager_averages(subject: Subject) -> None:
    """The same where averages overwrite the variables every other step.

    Why: It is a branch on a variable, like accumulation.

    Mend: Leave the averages to `keras.optimizers.Optimizer`.
    """
    options = {**AVERAGING, "ema_overwrite_frequency": 2}
    _assert_compiled_is_eager(subject, backend.compiled, STEPS, **options)


@promise
def check_compiled_rows_are_eager_rows(subject: Subject) -> None:
    """The same for gradients by rows, some of them named twice.

    Why: An embedding is trained in a compiled step, and its rows are counted there by
    other operations.

    Mend: Use `tf.unique` and segment sums, which do in a graph what they do eagerly.
    """
    subject.want_rows()
    _assert_compiled_is_eager(
        subject, backend.compiled, problem.with_rows(problem.REPEATED)
    )


@promise
def check_steps_compiled_by_xla_are_eager_steps(subject: Subject) -> None:
    """The same under `jit_compile=True`.

    Why: It is what `compile` chooses on a GPU.

    Mend: Use operations whose shapes are known before the step runs.
    """
    _assert_compiled_is_eager(subject, backend.xla, STEPS)
    _assert_compiled_is_eager(subject, backend.xla, STEPS, clipnorm=0.5)


def _assert_compiled_is_eager(
    subject: Subject, mode: Callable, steps: list, **options: Any
) -> None:
    assert_meet(
        Run(subject.make(**options), mode=mode).follow(steps).numbers,
        subject.after(steps, **options),
        START,
        f"{mode.__name__} and eager steps{_with(options)}",
        steps=len(steps),
        noise=subject.noise,
    )


def _with(options: dict[str, Any]) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return f" with {given}" if given else ""


@promise
def check_a_compiled_step_follows_a_new_rate(subject: Subject) -> None:
    """A rate that is set between two compiled steps holds from the next step on.

    Why: `ReduceLROnPlateau` sets it after an epoch, when the step is compiled already.

    Mend: Use the rate that `update_step` is given; compute nothing from it in
    `__init__` or `build`.
    """
    compiled, eager = (
        _after_a_new_rate(subject, mode) for mode in (backend.compiled, backend.eager)
    )
    if not differ(eager, subject.after(STEPS)):
        raise CheckSkipped("waits for an optimizer whose steps depend on the rate")
    assert_meet(
        compiled,
        eager,
        START,
        "compiled and eager steps with a rate that is set in between",
        steps=len(STEPS),
        noise=subject.noise,
    )


def _after_a_new_rate(subject: Subject, mode: Callable) -> list[np.ndarray]:
    run = Run(subject.make(), mode=mode).build().follow(STEPS[:3])
    run.optimizer.learning_rate = subject.rate / 8
    return run.follow(STEPS[3:]).numbers


@promise
def check_a_schedule_is_followed(subject: Subject) -> None:
    """A schedule gives the rate of each step, eager or compiled, from step 0 on.

    Why: Warm-ups and decays are schedules, and `get_config` keeps them.

    Mend: Use the rate that `update_step` is given.
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
        assert_meet(
            run.follow(STEPS).numbers,
            expected.numbers,
            START,
            f"a schedule ({mode.__name__}) and its rates set by hand",
            steps=len(STEPS),
            noise=subject.noise,
        )


@promise
def check_stateless_apply_is_apply(subject: Subject) -> None:
    """On JAX `stateless_apply` computes what `apply` does, and assigns nothing.

    Why: A training loop of JAX is a function of all state to all state. What it
    assigns on the side is a tracer that has leaked.

    Mend: Read and write state through the optimizer's variables alone.
    """
    backend.want("stateless")
    run, twin = subject.run().build(), subject.run().build()
    twin.follow(STEPS[:2])
    run.follow(STEPS[:2])
    before = [*run.numbers, *run.state]
    θ, state = run.optimizer.stateless_apply(
        [v.value for v in run.optimizer.variables],
        [backend.gradient(g, v) for g, v in zip(STEPS[2], run.variables)],
        [v.value for v in run.variables],
    )
    if differ([*run.numbers, *run.state], before):
        raise failure(
            "Expected `stateless_apply` to return new values and assign none; a "
            "variable came out changed",
            distance([*run.numbers, *run.state], before),
            subject.movement,
        )
    twin.step(STEPS[2])
    names = [*problem.NAMES, *(v.path for v in run.optimizer.variables)]
    assert_same(
        [backend.numbers(value) for value in [*θ, *state]],
        [*twin.numbers, *twin.state],
        before,
        "`stateless_apply` and `apply`",
        steps=1,
        names=names,
    )


@promise
def check_fit_is_a_loop_of_steps(subject: Subject) -> None:
    """`Model.fit`, called twice, takes the steps of a loop of one's own.

    Why: It is how nearly all training is done.

    Mend: Look at the checks of compiled steps first; override no more of `apply` than
    the equation needs.
    """
    _assert_fit_is_a_loop(subject)


@promise
def check_fit_accumulates(subject: Subject) -> None:
    """The same with `gradient_accumulation_steps`.

    Why: A batch that does not fit into memory is accumulated from smaller ones.

    Mend: Leave the accumulation to `keras.optimizers.Optimizer`.
    """
    model = LinearModel()
    optimizer = subject.make(gradient_accumulation_steps=2)
    model.fit(optimizer).fit(optimizer)
    loop = LinearModel()
    run = Run(subject.make(), loop.values)
    for _ in range(2):
        for pair in zip(loop.batches[::2], loop.batches[1::2]):
            both = [loop.gradients(run.numbers, batch) for batch in pair]
            run.step([np.mean(of_one, axis=0) for of_one in zip(*both)])
        run.optimizer.finalize_variable_values(run.variables)
    _assert_model_is_run(subject, model, run.numbers, "fit, accumulating, and a loop")


@promise
def check_fit_twice_with_averages(subject: Subject) -> None:
    """The same with `use_ema`: at the end of each `fit` the averages are the weights.

    Why: The second `fit` goes on from the averages of the first. On JAX the buffers of
    the two must not be one.

    Mend: Copy the average into the variable; do not hand its buffer over.
    """
    model = LinearModel()
    optimizer = subject.make(**AVERAGING)
    model.fit(optimizer).fit(optimizer)
    loop = LinearModel()
    run = Run(subject.make(), loop.values)
    averages: list | None = None
    for _ in range(2):
        for batch in loop.batches:
            run.step(loop.gradients(run.numbers, batch))
            averages = by_hand.average(averages, run.numbers, 0.5)
        run.assign(averages or [])
    _assert_model_is_run(subject, model, run.numbers, "fit, averaging, and a loop")


def _assert_fit_is_a_loop(subject: Subject) -> None:
    model = LinearModel()
    optimizer = subject.make()
    model.fit(optimizer).fit(optimizer)
    loop = LinearModel()
    run = Run(subject.make(), loop.values)
    for _ in range(2):
        for batch in loop.batches:
            run.step(loop.gradients(run.numbers, batch))
        run.optimizer.finalize_variable_values(run.variables)
    _assert_model_is_run(subject, model, run.numbers, "fit twice, and a loop")


def _assert_model_is_run(
    subject: Subject, model: LinearModel, expected: list, what: str
) -> None:
    # The loop's gradients are of float64 and hand-written: each is off by rounding.
    assert_meet(
        model.numbers,
        expected,
        model.values,
        what,
        steps=2 * len(model.batches),
        noise=4 * subject.noise,
        names=model.names,
    )


@promise
def check_a_layer_frozen_after_averaging_stays(subject: Subject) -> None:
    """A layer that is frozen between two `fit`s with `use_ema` keeps its weights.

    Why: Fine-tuning freezes layers. Averages that are put back by their place in a
    list land in another layer then, without an error.

    Mend: Find an average by its variable, not by its place.
    """
    backend.want("freezing")
    model = LinearModel()
    optimizer = subject.make(**AVERAGING)
    model.fit(optimizer)
    frozen = model.numbers
    model.freeze_the_first()
    model.fit(optimizer)
    loop = Run(subject.make(), model.values)
    averages: list | None = None
    for batch in model.batches:
        loop.step(model.gradients(loop.numbers, batch))
        averages = by_hand.average(averages, loop.numbers, 0.5)
    assert averages is not None
    loop.assign(averages)
    for batch in model.batches:
        gradients = model.gradients(loop.numbers, batch)
        loop.step([None, None, *gradients[2:]])
        averages = by_hand.average(averages, loop.numbers, 0.5)
    expected = [*frozen[:2], *averages[2:]]
    _assert_model_is_run(
        subject, model, expected, "fit with the first layer frozen, and a loop"
    )
