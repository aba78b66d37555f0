"""What every Keras optimizer does beside its equation, as Keras documents it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_textbook_opt.testing import backend, by_hand, problem
from keras_textbook_opt.testing.comparing import assert_meet, differ, distance, failure
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckSkipped

STEPS = problem.gradients()
START = problem.values()
SCALE = 8.0
AVERAGING: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5}


def _assert_meet(subject: Subject, found: list, expected: list, what: str) -> None:
    assert_meet(found, expected, START, what, steps=len(STEPS), noise=subject.noise)


@promise
def check_the_loss_scale_is_undone(subject: Subject) -> None:
    """With `loss_scale_factor=s`, gradients of `s` times the loss give the same steps.

    Why: The scale keeps gradients of 16 bits from becoming zero; the step must not
    know of it.

    Mend: Leave the division to `Optimizer.apply`, and do not divide again.
    """
    scaled = [[SCALE * g for g in step] for step in STEPS]
    _assert_meet(
        subject,
        subject.after(scaled, loss_scale_factor=SCALE),
        subject.after(STEPS),
        f"loss_scale_factor={SCALE} on scaled gradients, and plain steps",
    )
    scaled_loss = backend.numbers(
        subject.make(loss_scale_factor=SCALE).scale_loss(
            keras.ops.convert_to_tensor(3.0)
        )
    )
    if scaled_loss != 3 * SCALE:
        raise failure(
            f"Expected `scale_loss(3.0)` to be {3 * SCALE} with loss_scale_factor="
            f"{SCALE}; came {scaled_loss}, and gradients with it are",
            abs(float(scaled_loss) / (3 * SCALE) - 1) * subject.movement,
            subject.movement,
        )


@promise
def check_the_loss_scale_is_undone_before_the_clip(subject: Subject) -> None:
    """The clip sees the gradient of the loss itself, not of the scaled one.

    Why: Clipped first, a gradient is cut to `c` and then divided: the step is `s` times
    too small.

    Mend: Divide before anything else is done with a gradient.
    """
    scaled = [[SCALE * g for g in step] for step in STEPS]
    for clip in by_hand.CLIPS:
        _assert_meet(
            subject,
            subject.after(scaled, loss_scale_factor=SCALE, **clip),
            subject.after(STEPS, **clip),
            f"{clip} and loss_scale_factor={SCALE} on scaled gradients, and {clip}",
        )


PAIRS = [([g * 1.5 for g in step], [g * 0.5 for g in step]) for step in STEPS]


@promise
def check_accumulated_steps_are_steps_on_the_mean(subject: Subject) -> None:
    """With `gradient_accumulation_steps=2` two calls are one step on the mean.

    Why: A batch in two halves is to train as the whole batch. A sum in place of the
    mean is a rate that is twice as high.

    Mend: Leave the accumulation to `keras.optimizers.Optimizer`.
    """
    run = subject.run(gradient_accumulation_steps=2).build()
    for first, second in PAIRS:
        before = run.numbers
        run.step(first)
        if differ(run.numbers, before):
            raise failure(
                "Expected no variable to move in the first of two accumulated calls; "
                "they moved",
                distance(run.numbers, before),
                subject.movement,
            )
        run.step(second)
    _assert_meet(
        subject,
        run.numbers,
        subject.after(STEPS),
        "two accumulated calls, and one step on their mean",
    )


@promise
def check_an_accumulated_mean_is_clipped_once(subject: Subject) -> None:
    """What is clipped is the mean, not the gradients that it is made of.

    Why: Noise that cancels in the mean is not to be clipped before it can.

    Mend: Clip where the step is taken, after the accumulation.
    """
    for clip in by_hand.CLIPS:
        run = subject.run(gradient_accumulation_steps=2, **clip).build()
        for first, second in PAIRS:
            run.follow([first, second])
        _assert_meet(
            subject,
            run.numbers,
            subject.after([by_hand.clipped(step, clip) for step in STEPS]),
            f"two accumulated calls with {clip}, and a step on their clipped mean",
        )


@promise
def check_averages_end_the_training(subject: Subject) -> None:
    """With `use_ema` the steps are the same; at the end the averages are the weights.

    Why: An average that steps, or one that starts at zero, is not that of the weights.

    Mend: Leave the averages to `keras.optimizers.Optimizer`.
    """
    plain, averaging = subject.run(), subject.run(**AVERAGING)
    averages: list | None = None
    for gradients in STEPS:
        plain.step(gradients)
        averaging.step(gradients)
        averages = by_hand.average(averages, plain.numbers, 0.5)
    _assert_meet(
        subject, averaging.numbers, plain.numbers, "steps with use_ema, and without"
    )
    averaging.optimizer.finalize_variable_values(averaging.variables)
    _assert_meet(
        subject,
        averaging.numbers,
        averages or [],
        "the weights at the end of training, and their averages by hand",
    )


@promise
def check_averages_overwrite_the_variables(subject: Subject) -> None:
    """With `ema_overwrite_frequency=2` every other step ends at the averages.

    Why: The steps after it start from there.

    Mend: Leave the averages to `keras.optimizers.Optimizer`.
    """
    plain = subject.run()
    averages: list | None = None
    for t, gradients in enumerate(STEPS):
        plain.step(gradients)
        averages = by_hand.average(averages, plain.numbers, 0.5)
        if t % 2 == 1:
            plain.assign(averages)
    _assert_meet(
        subject,
        subject.after(STEPS, **AVERAGING, ema_overwrite_frequency=2),
        plain.numbers,
        "averages that overwrite every other step, and the same by hand",
    )


@promise
def check_weights_decay_once(subject: Subject) -> None:
    """`weight_decay=λ` takes `η·λ·θ` off, once a step.

    Why: Decay that is done twice, by the base class and by the equation, or not at all,
    regularizes by another strength than the one that was set.

    Mend: Leave it to `keras.optimizers.Optimizer`, which does it before `update_step`;
    where the equation has a decay of its own, name that otherwise.
    """
    λ = 0.1 / subject.rate
    decayed = subject.after(STEPS[:1], weight_decay=λ)
    kept = subject.after(STEPS[:1], weight_decay=0.0)
    for name, start, before, now in zip(problem.NAMES, START, kept, decayed):
        expected = 0.1 * start
        off, decay = distance([before - now], [expected]), np.abs(expected).max()
        # A step that is scaled by ‖θ‖ sees the decayed θ: not twice and not at all is
        # what is asked for.
        if not off <= 0.25 * decay:
            raise failure(
                f"Expected weight_decay={λ:.4g} at a rate of {subject.rate:.4g} to "
                f"take η·λ·θ = {expected.ravel()[0]:.4g} off the first element of "
                f"`{name}` in a step; it took {(before - now).ravel()[0]:.4g}. The "
                "decay is",
                off,
                decay,
            )


@promise
def check_what_is_excluded_does_not_decay(subject: Subject) -> None:
    """What `exclude_from_weight_decay` names, by variable or by name, does not decay.

    Why: Biases and gains are not to be pulled to zero.

    Mend: Ask `self._use_weight_decay(variable)` where the equation decays by itself.
    """
    λ = 0.1 / subject.rate
    kept = subject.after(STEPS, weight_decay=0.0)
    decayed = subject.after(STEPS, weight_decay=λ)
    if not distance(kept[:1], decayed[:1]):
        raise CheckSkipped(
            "waits for `check_weights_decay_once`: weight_decay changes no step here"
        )
    for by in ("var_list", "var_names"):
        run = subject.run(weight_decay=λ)
        given = run.variables[1:2] if by == "var_list" else ["bias"]
        run.optimizer.exclude_from_weight_decay(**{by: given})
        _assert_meet(
            subject,
            run.follow(STEPS).numbers,
            [decayed[0], kept[1], decayed[2]],
            f"`bias` excluded by {by}, and steps without its decay",
        )


@promise
def check_constraints_hold_after_a_step(subject: Subject) -> None:
    """A variable with a constraint satisfies it after each step.

    Why: A weight that must not be negative is so for the whole of a training.

    Mend: Leave it to `Optimizer.apply`, or apply `variable.constraint` last.
    """
    run = Run(subject.make(), [1e-3 * np.abs(value) for value in START])
    kernel = run.variables[0]
    kernel.constraint = keras.constraints.NonNeg()
    downhill = [[10 * np.abs(g) for g in step] for step in STEPS]
    free = Run(subject.make(), run.start).follow(downhill * 2).numbers[0]
    if free.min() >= 0:
        raise CheckSkipped("waits for steps that would make a weight negative")
    run.follow(downhill * 2)
    if run.numbers[0].min() < 0:
        raise failure(
            "Expected a variable with the constraint NonNeg to be at least 0 after "
            f"each step; its least element came to {run.numbers[0].min():.4g}",
            -run.numbers[0].min(),
            distance(run.numbers, run.start),
        )


@promise
def check_a_variable_may_be_its_gradient(subject: Subject) -> None:
    """A variable with `overwrite_with_gradient` becomes what came as its gradient.

    Why: Keras keeps the scales of float8 layers in such variables.

    Mend: Leave it to `Optimizer.apply`; make no slot for such a variable.
    """
    run = subject.run()
    run.variables[1].overwrite_with_gradient = True
    run.follow(STEPS[:2])
    if not np.array_equal(run.numbers[1], STEPS[1][1]):
        raise failure(
            f"Expected `bias`, which is overwritten with its gradient, to be "
            f"{STEPS[1][1].tolist()}; came {run.numbers[1].tolist()}",
            distance(run.numbers[1:2], STEPS[1][1:2]),
            distance(START[1:2], STEPS[1][1:2]),
        )
    expected = subject.after(STEPS[:2])
    assert_meet(
        run.numbers[::2],
        expected[::2],
        START[::2],
        "beside a variable that is overwritten with its gradient, and without",
        steps=2,
        noise=subject.noise,
        names=problem.NAMES[::2],
    )
