"""Invalid input: an error at the earliest moment, and nothing changes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_textbook_opt.testing import backend, by_hand, problem
from keras_textbook_opt.testing.comparing import differ, distance, failure, percent
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckFailed, CheckSkipped, telling_line

STEPS = problem.gradients()
NAN = float("nan")
COMMON: list[dict[str, Any]] = [
    {"clipnorm": NAN},
    {"clipnorm": -1.0},
    {"clipvalue": NAN},
    {"clipvalue": -1.0},
    {"global_clipnorm": NAN},
    {"global_clipnorm": -1.0},
    {"weight_decay": NAN},
    {"use_ema": True, "ema_momentum": 1.5},
    {"use_ema": True, "ema_momentum": NAN},
    {"use_ema": True, "ema_overwrite_frequency": 0},
    {"gradient_accumulation_steps": 1},
    {"clipnorm": 1.0, "clipvalue": 1.0},
]


def _assert_refused(subject: Subject, candidates: list[dict[str, Any]]) -> None:
    accepted = {}
    expected = subject.after(STEPS[:3])
    for options in candidates:
        try:
            optimizer = subject.factory(**{"learning_rate": subject.rate, **options})
        except Exception:
            continue
        given = by_hand.written(options)
        accepted[given] = _consequence(subject, optimizer, expected)
    if accepted:
        said = "; ".join(f"{given} ({then})" for given, then in accepted.items())
        raise CheckFailed(
            f"Expected the constructor to raise an error; it accepts {said}.", accepted
        )


def _consequence(subject: Subject, optimizer: Any, expected: list) -> str:
    """The effect of an invalid argument on three steps."""
    try:
        found = Run(optimizer).follow(STEPS[:3]).numbers
    except Exception as error:
        return f"a step raises {telling_line(error)}"
    if not all(np.isfinite(values).all() for values in found):
        return "the variables become NaN or infinite"
    off = distance(found, expected)
    if off == 0:
        return "it has no effect"
    return f"steps change by {percent(off, subject.movement)} of the movement"


@promise
def check_invalid_learning_rate(subject: Subject) -> None:
    """A learning rate that is NaN, infinite or negative is an error.

    Why: The model is NaN after the first step, or the loss grows, and it looks like bad
    data.

    Fix: Check the rate in `__init__`, with a message that says what is expected.
    """
    rates = [NAN, -1.0, float("inf")]
    _assert_refused(subject, [{"learning_rate": rate} for rate in rates])


@promise
def check_invalid_settings(subject: Subject) -> None:
    """Clips, decays, averages and accumulations out of their range are errors.

    Why: `clipnorm=-1` turns clipping off, and `clipnorm=nan` makes the model NaN.

    Fix: Check them in `__init__`.
    """
    taken = subject.defaults()
    candidates = [options for options in COMMON if options.keys() <= taken.keys()]
    if not candidates:
        raise CheckSkipped("the constructor takes none of Keras's settings")
    _assert_refused(subject, candidates)


@promise
def check_invalid_hyperparameters(subject: Subject) -> None:
    """A hyperparameter of the equation that is NaN, or a beta of 1.5, is an error.

    Why: With β = 1.5 moments grow from step to step, which shows an hour later.

    Fix: Check them in `__init__`.
    """
    common = {"learning_rate", *(name for options in COMMON for name in options)}
    own = {
        name: value
        for name, value in subject.defaults().items()
        if name not in common and isinstance(value, float)
    }
    own.pop("loss_scale_factor", None)
    if not own:
        raise CheckSkipped("the optimizer has no number of its own")
    candidates = [{name: NAN} for name in own]
    candidates += [{name: 1.5} for name in own if name.startswith("beta")]
    _assert_refused(subject, candidates)


@promise
def check_unknown_arguments(subject: Subject) -> None:
    """An argument that does not exist is an error.

    Why: A misspelt argument that is ignored leaves its default in place.

    Fix: Pass `**kwargs` on to `super().__init__`, which raises.
    """
    _assert_refused(subject, [{"no_such_argument": 1.0}])


@promise
def check_gradient_shape_mismatch(subject: Subject) -> None:
    """A gradient of another shape is an error, and nothing changes.

    Why: A gradient of the shape (3,) broadcasts to a kernel of (4, 3): a wrong loop
    trains on, wrongly.

    Fix: Compare the shapes of all gradients and variables before the first step.
    """
    kernel, bias, table = STEPS[0]
    for wrong in (kernel[:1], kernel[0], kernel.T, np.float32(1.0)):
        what = f"a gradient of {np.shape(wrong)} for a variable of (4, 3)"
        run = subject.run().build().follow(STEPS[1:2])
        # The wrong one comes last: the others would be done by then.
        gradients = [keras.ops.convert_to_tensor(g) for g in (bias, table, wrong)]
        variables = [*run.variables[1:], run.variables[0]]
        _assert_apply_refused(subject, [run], gradients, variables, what)


@promise
def check_missing_gradients(subject: Subject) -> None:
    """Fewer gradients than variables are an error, and nothing changes.

    Why: `zip` silently leaves out the last variables.

    Fix: Compare the two lengths in `apply`.
    """
    run = subject.run().build()
    gradients = backend.tensors(STEPS[0][:2], run.variables[:2])
    what = "two gradients for three variables"
    _assert_apply_refused(subject, [run], gradients, run.variables, what)


@promise
def check_unknown_variables(subject: Subject) -> None:
    """A variable that the optimizer was not built with is an error.

    Why: It has no slot; the slot of another variable would be used.

    Fix: Leave the check to `Optimizer.apply`.
    """
    run, stranger = subject.run().build(), Run(subject.make())
    gradients = stranger.tensors(STEPS[0])
    what = "variables that are not those of `build`"
    _assert_apply_refused(subject, [run, stranger], gradients, stranger.variables, what)


def _assert_apply_refused(
    subject: Subject, runs: list[Run], gradients: list, variables: list, what: str
) -> None:
    """`apply` raises, and changes neither variables nor state."""

    def values() -> list[np.ndarray]:
        return [array for run in runs for array in [*run.numbers, *run.state]]

    before = values()
    try:
        runs[0].optimizer.apply(gradients, variables)
    except Exception as error:
        if differ(values(), before):
            raise failure(
                f"{what} raises an error after variables or state have changed",
                distance(values(), before),
                subject.movement,
            ) from error
    else:
        raise CheckFailed(f"Expected an error for {what}; `apply` accepts it.")
