"""Gradient clipping: a clipped step is the step on gradients clipped by hand."""

from __future__ import annotations

from keras_textbook_opt.testing import by_hand, problem
from keras_textbook_opt.testing.comparing import distance
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckSkipped

START = problem.values()
LARGE = 2.0**50
CLIPNORM, CLIPVALUE, GLOBAL_CLIPNORM = by_hand.CLIPS


@promise
def check_clipnorm(subject: Subject) -> None:
    """`clipnorm=c` applies `g·c/max(‖g‖₂, c)` to the gradient of each variable.

    Why: It bounds the step of a variable. A clip that is ignored, or that uses one norm
    over all variables, bounds something else.

    Fix: Leave clipping to `keras.optimizers.Optimizer`: `update_step` receives clipped
    gradients.
    """
    _assert_clips(subject, CLIPNORM)


@promise
def check_clipvalue(subject: Subject) -> None:
    """`clipvalue=c` clips each element of a gradient to `[−c, c]`.

    Why: It bounds the influence of one element.

    Fix: Leave clipping to `keras.optimizers.Optimizer`.
    """
    _assert_clips(subject, CLIPVALUE)


@promise
def check_global_clipnorm(subject: Subject) -> None:
    """`global_clipnorm=c` applies `g·c/max(‖(g, g′, …)‖₂, c)`: one norm over all.

    Why: It bounds the step and keeps its direction.

    Fix: Leave clipping to `keras.optimizers.Optimizer`.
    """
    _assert_clips(subject, GLOBAL_CLIPNORM)


@promise
def check_clip_of_large_gradients(subject: Subject) -> None:
    """A gradient of size 1e15, clipped by its norm, gives a step in its direction.

    Why: A clip is there for the one batch whose gradient explodes.

    Fix: Compute the norm in float32, also for 16-bit variables.
    """
    for clip in (CLIPNORM, GLOBAL_CLIPNORM):
        _assert_clips(subject, clip, LARGE)


def _assert_clips(subject: Subject, clip: dict[str, float], factor: float = 1) -> None:
    steps = problem.scaled(subject.steps, factor)
    expected = subject.after([by_hand.clipped(step, clip) for step in steps])
    [(name, c)] = clip.items()
    unclipped = subject.after(steps)
    if distance(expected, unclipped) < 1e-3 * distance(expected, START):
        raise CheckSkipped(
            "the steps do not depend on the gradient's magnitude, so that "
            f"{name}={c} has no effect"
        )
    size = "" if factor == 1 else f" (gradients × {factor:.0e})"
    what = f"{name}={c} vs. gradients clipped by hand{size}"
    subject.assert_close(subject.after(steps, **clip), expected, what)
