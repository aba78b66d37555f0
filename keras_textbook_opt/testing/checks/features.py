"""Keras's features: loss scale, accumulation, averages, weight decay, constraints."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_textbook_opt.testing import backend, by_hand, problem
from keras_textbook_opt.testing.comparing import (
    differ,
    distance,
    failure,
    percent,
)
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckFailed, CheckSkipped, CouldNotRun

START = problem.values()
SCALE = 8.0
AVERAGING: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5}
# The share of θ that decays in one step of `check_weight_decay`, and what is tolerated:
# a step that is scaled by ‖θ‖ sees the decayed θ.
DECAY, TOLERANCE = 0.1, 0.25


@promise
def check_loss_scale(subject: Subject) -> None:
    """With `loss_scale_factor=s`, gradients of `s` times the loss give the same steps.

    Why: The scale keeps 16-bit gradients from becoming zero; the step must not depend
    on it.

    Fix: Leave the division to `Optimizer.apply`, and do not divide again.
    """
    scaled = problem.scaled(subject.steps, SCALE)
    subject.assert_close(
        subject.after(scaled, loss_scale_factor=SCALE),
        subject.plain,
        f"loss_scale_factor={SCALE} on scaled gradients vs. no scale",
    )
    three = keras.ops.convert_to_tensor(3.0)
    found = backend.numbers(subject.make(loss_scale_factor=SCALE).scale_loss(three))
    if found != 3 * SCALE:
        raise CheckFailed(
            f"Expected `scale_loss(3.0)` to be {3 * SCALE} with loss_scale_factor="
            f"{SCALE}; got {found}."
        )


@promise
def check_loss_scale_before_clip(subject: Subject) -> None:
    """Gradients are unscaled before they are clipped.

    Why: Clipped first and then divided, a step is `s` times too small.

    Fix: Divide before anything else is done with a gradient.
    """
    scaled = problem.scaled(subject.steps, SCALE)
    for clip in by_hand.CLIPS:
        subject.assert_close(
            subject.after(scaled, loss_scale_factor=SCALE, **clip),
            subject.after(subject.steps, **clip),
            f"{by_hand.written(clip)} and loss_scale_factor={SCALE}, scaled, vs. "
            f"{by_hand.written(clip)} only",
        )


def _halves(steps: list) -> list[list]:
    """Two steps for each, of which it is the mean."""
    return [[factor * g for g in step] for step in steps for factor in (1.5, 0.5)]


def _accumulating(subject: Subject, **clip: float) -> Run:
    optimizer = subject.make(gradient_accumulation_steps=2, **clip)
    return Run(optimizer, mode=backend.cheapest).build()


@promise
def check_gradient_accumulation(subject: Subject) -> None:
    """With `gradient_accumulation_steps=2` two calls are one step on the mean.

    Why: Two half batches are to train like the whole batch. The sum in place of the
    mean doubles the learning rate.

    Fix: Leave the accumulation to `keras.optimizers.Optimizer`.
    """
    run = _accumulating(subject)
    for k, gradients in enumerate(_halves(subject.steps)):
        before = run.numbers
        run.step(gradients)
        if k % 2 == 0 and differ(run.numbers, before):
            raise failure(
                "Expected no variable to move in the first of two accumulated calls",
                distance(run.numbers, before),
                subject.movement,
            )
    subject.assert_close(
        run.numbers,
        subject.plain,
        "two accumulated calls vs. one step on their mean",
    )


@promise
def check_clip_of_accumulated_gradients(subject: Subject) -> None:
    """The mean of accumulated gradients is clipped, not each of them.

    Why: Noise that cancels in the mean must not be clipped before.

    Fix: Clip in the step, after the accumulation.
    """
    for clip in by_hand.CLIPS:
        run = _accumulating(subject, **clip)
        subject.assert_close(
            run.follow(_halves(subject.steps)).numbers,
            subject.after([by_hand.clipped(step, clip) for step in subject.steps]),
            f"two accumulated calls with {by_hand.written(clip)} vs. a step on their "
            "clipped mean",
        )


@promise
def check_ema(subject: Subject) -> None:
    """`use_ema` does not change the steps; at the end the averages are the weights.

    Why: An average that changes steps, or starts at zero, is not that of the weights.

    Fix: Leave the averages to `keras.optimizers.Optimizer`.
    """
    assert_averages(subject, subject.steps)


def assert_averages(subject: Subject, steps: list, on: str = "") -> None:
    """The averages of these steps are the weights in the end, and not before."""
    plain, averaging = subject.run(), subject.run(**AVERAGING)
    averages: list = []
    for gradients in steps:
        plain.step(gradients)
        averaging.step(gradients)
        averages = by_hand.average(averages, plain.numbers, 0.5)
    count, what = len(steps), f"steps{on} with use_ema vs. without"
    subject.assert_close(averaging.numbers, plain.numbers, what, steps=count)
    averaging.optimizer.finalize_variable_values(averaging.variables)
    what = f"the weights after training{on} vs. averages computed by hand"
    subject.assert_close(averaging.numbers, averages, what, steps=count)


@promise
def check_ema_overwrite(subject: Subject) -> None:
    """With `ema_overwrite_frequency=2` the averages replace the weights every 2 steps.

    Why: The next steps start from there.

    Fix: Leave the averages to `keras.optimizers.Optimizer`.
    """
    plain = subject.run()
    averages: list = []
    for t, gradients in enumerate(subject.steps):
        plain.step(gradients)
        averages = by_hand.average(averages, plain.numbers, 0.5)
        if t % 2 == 1:
            plain.assign(averages)
    subject.assert_close(
        subject.after(subject.steps, **AVERAGING, ema_overwrite_frequency=2),
        plain.numbers,
        "ema_overwrite_frequency=2 vs. the same by hand",
    )


@promise
def check_weight_decay(subject: Subject) -> None:
    """`weight_decay=λ` subtracts `η·λ·θ` once a step, with the current learning rate.

    Why: Decay that happens twice (in the base class and in the equation), never, with
    the rate of the constructor, or before a clip, has another strength than the given
    one.

    Fix: Leave it to `keras.optimizers.Optimizer`, which does it before `update_step`.
    If the equation has a decay of its own, give it another name.
    """
    λ = DECAY / subject.rate
    if _is_coupled(subject, λ):
        raise CheckSkipped(
            "weight_decay is added to the gradients (L2 regularization) and not "
            "subtracted from the variables"
        )
    _assert_decays(subject, λ, DECAY, {}, "")
    if subject.takes({"clipnorm": 1e-3}):
        _assert_decays(subject, λ, DECAY, {"clipnorm": 1e-3}, " with clipnorm=1e-3")
    quarter = subject.rate / 4
    what = " with a learning rate set after `build`"
    _assert_decays(subject, λ, DECAY / 4, {}, what, set_rate=quarter)


def _is_coupled(subject: Subject, λ: float) -> bool:
    """Whether steps with `weight_decay=λ` are steps on the gradients `g + λ·θ`."""
    run = subject.run()
    for step in subject.steps:
        run.step([g + np.float32(λ) * θ for g, θ in zip(step, run.numbers)])
    decayed = subject.after(subject.steps, weight_decay=λ)
    decoupled = _first_step(subject, {"weight_decay": λ}, None)
    kept = _first_step(subject, {"weight_decay": 0.0}, None)
    takes_off = [a - b for a, b in zip(kept, decoupled)]
    is_decoupled = distance(takes_off, [DECAY * θ for θ in START]) <= TOLERANCE * DECAY
    try:
        subject.assert_close(decayed, run.numbers, "")
    except (CheckFailed, CheckSkipped):
        return False
    return not is_decoupled


def _first_step(subject: Subject, options: dict, rate: float | None) -> list:
    run = subject.run(**options).build()
    if rate is not None:
        run.optimizer.learning_rate = rate
    return run.follow(subject.steps[:1]).numbers


def _assert_decays(
    subject: Subject,
    λ: float,
    share: float,
    options: dict[str, Any],
    how: str,
    set_rate: float | None = None,
) -> None:
    """One step takes this share off θ."""
    decayed = _first_step(subject, {**options, "weight_decay": λ}, set_rate)
    kept = _first_step(subject, {**options, "weight_decay": 0.0}, set_rate)
    for name, start, before, now in zip(problem.NAMES, START, kept, decayed):
        off = distance([before - now], [share * start])
        decay = np.abs(share * start).max()
        if not off <= TOLERANCE * decay:
            took = (before - now).ravel()[0]
            raise CheckFailed(
                f"Expected weight_decay={λ:.4g}{how} to take η·λ·θ = "
                f"{share * start.ravel()[0]:.4g} off the first element of `{name}` in "
                f"a step; it takes {took:.4g} (off by {percent(off, decay)} of the "
                "decay).",
                [f"{how} takes {'nothing' if took == 0 else 'something'}"],
            )


@promise
def check_exclude_from_weight_decay(subject: Subject) -> None:
    """Variables that `exclude_from_weight_decay` names do not decay.

    Why: Biases and gains usually must not decay.

    Fix: Ask `self._use_weight_decay(variable)` if the equation has its own decay.
    """
    subject.require_local()
    λ = DECAY / subject.rate
    kept = subject.after(subject.steps, weight_decay=0.0)
    decayed = subject.after(subject.steps, weight_decay=λ)
    if not distance(kept[:1], decayed[:1]):
        raise CouldNotRun("weight_decay has no effect (see `check_weight_decay`)")
    for by in ("var_list", "var_names"):
        run = subject.run(weight_decay=λ)
        given = run.variables[1:2] if by == "var_list" else ["bias"]
        run.optimizer.exclude_from_weight_decay(**{by: given})
        subject.assert_close(
            run.follow(subject.steps).numbers,
            [decayed[0], kept[1], decayed[2]],
            f"`bias` excluded by {by} vs. steps without its decay",
        )


@promise
def check_constraints(subject: Subject) -> None:
    """A variable with a constraint satisfies it after each step.

    Why: A weight that must not be negative must never be.

    Fix: Leave it to `Optimizer.apply`, or apply `variable.constraint` last.
    """
    run = Run(subject.make(), [1e-3 * np.abs(value) for value in START])
    kernel = run.variables[0]
    kernel.constraint = keras.constraints.NonNeg()
    downhill = 2 * [[10 * np.abs(g) for g in step] for step in subject.steps]
    free = Run(subject.make(), run.start).follow(downhill).numbers[0]
    if free.min() >= 0:
        raise CheckSkipped("these steps do not make a weight negative")
    run.follow(downhill)
    if run.numbers[0].min() < 0:
        raise CheckFailed(
            "Expected a variable with the constraint NonNeg to be at least 0 after "
            f"each step; its least element is {run.numbers[0].min():.4g}."
        )


@promise
def check_overwrite_with_gradient(subject: Subject) -> None:
    """A variable with `overwrite_with_gradient` is replaced by its gradient.

    Why: Keras keeps the scales of float8 layers in such variables.

    Fix: Leave it to `Optimizer.apply`; create no slot for such a variable.
    """
    run = subject.run()
    run.variables[1].overwrite_with_gradient = True
    steps = subject.steps[:2]
    run.follow(steps)
    if not np.array_equal(run.numbers[1], steps[1][1]):
        raise CheckFailed(
            f"Expected `bias`, which is overwritten with its gradient, to be "
            f"{steps[1][1].tolist()}; got {run.numbers[1].tolist()}."
        )
    subject.require_local()
    subject.assert_close(
        run.numbers[::2],
        subject.after(steps)[::2],
        "next to a variable that is overwritten with its gradient vs. without",
        steps=2,
        start=START[::2],
        names=problem.NAMES[::2],
    )
