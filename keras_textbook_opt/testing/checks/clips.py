"""The clips: a clipped step is the step on a gradient that was clipped by hand."""

from __future__ import annotations

import numpy as np

from keras_textbook_opt.testing import by_hand, problem
from keras_textbook_opt.testing.comparing import assert_meet, distance
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckSkipped

STEPS = problem.gradients()
START = problem.values()
HUGE = 2.0**90
CLIPNORM, CLIPVALUE, GLOBAL_CLIPNORM = by_hand.CLIPS


@promise
def check_clipnorm(subject: Subject) -> None:
    """`clipnorm=c` takes `g·c/max(‖g‖₂, c)` for each variable's gradient.

    Why: It bounds the step of a variable; a clip that is ignored, or that is one norm
    over all variables, bounds another thing.

    Mend: Leave the clips to `keras.optimizers.Optimizer`: `update_step` gets gradients
    that are clipped.
    """
    _assert_clips(subject, CLIPNORM)


@promise
def check_clipvalue(subject: Subject) -> None:
    """`clipvalue=c` takes each element of a gradient into `[−c, c]`.

    Why: It bounds the influence of one element.

    Mend: Leave the clips to `keras.optimizers.Optimizer`.
    """
    _assert_clips(subject, CLIPVALUE)


@promise
def check_global_clipnorm(subject: Subject) -> None:
    """`global_clipnorm=c` takes `g·c/max(‖(g, g′, …)‖₂, c)`: one norm over all.

    Why: It bounds the step and keeps its direction.

    Mend: Leave the clips to `keras.optimizers.Optimizer`.
    """
    _assert_clips(subject, GLOBAL_CLIPNORM)


def _assert_clips(subject: Subject, clip: dict[str, float]) -> None:
    expected = subject.after([by_hand.clipped(step, clip) for step in STEPS])
    [(name, c)] = clip.items()
    if distance(expected, subject.after(STEPS)) < 1e-3 * distance(expected, START):
        raise CheckSkipped(
            f"waits for an optimizer whose steps hang on the size of a gradient: "
            f"{name}={c} changes none here"
        )
    assert_meet(
        subject.after(STEPS, **clip),
        expected,
        START,
        f"{name}={c}, and gradients clipped by hand",
        steps=len(STEPS),
        noise=subject.noise,
    )


@promise
def check_huge_gradients_keep_their_direction(subject: Subject) -> None:
    """A gradient of size 1e27 below a clip by norm gives the step of its direction.

    Why: A clip is there for the one batch whose gradient explodes. The squares of such
    numbers are infinite in float32: the norm is, and the step is zero or NaN.

    Mend: Divide by the largest element before the squares, and multiply the norm by it
    afterwards.
    """
    steps = [[np.float32(HUGE) * g for g in step] for step in STEPS]
    for clip in (CLIPNORM, GLOBAL_CLIPNORM):
        [(name, c)] = clip.items()
        assert_meet(
            subject.after(steps, **clip),
            subject.after([by_hand.clipped(step, clip) for step in steps]),
            START,
            f"{name}={c} on gradients of size 1e27, and these clipped by hand",
            steps=len(STEPS),
            noise=subject.noise,
        )
