"""Bad input: an error at the earliest moment, after which nothing has changed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_textbook_opt.testing import backend, problem
from keras_textbook_opt.testing.comparing import differ, distance, failure
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
    accepted = []
    for options in candidates:
        try:
            optimizer = subject.factory(**{"learning_rate": subject.rate, **options})
        except Exception:
            continue
        written = ", ".join(f"{name}={value!r}" for name, value in options.items())
        accepted.append(f"{written} ({_consequence(subject, optimizer)})")
    if accepted:
        raise CheckFailed(
            f"Expected an error of the constructor; it accepts {'; '.join(accepted)}."
        )


def _consequence(subject: Subject, optimizer: Any) -> str:
    """What a bad argument makes of three steps."""
    try:
        found = Run(optimizer).follow(STEPS[:3]).numbers
    except Exception as error:
        return f"of the movement nothing comes, but {telling_line(error)}"
    off = distance(found, subject.after(STEPS[:3]))
    return f"its steps are off by {off / subject.movement:.2g} of the movement"


@promise
def check_a_rate_out_of_range_is_refused(subject: Subject) -> None:
    """A learning rate that is NaN, infinite or negative is an error of the constructor.

    Why: The model is NaN after the first step, or climbs, and it looks like bad data.

    Mend: Check the rate in `__init__`, with a message that says what is expected.
    """
    rates = [NAN, -1.0, float("inf")]
    _assert_refused(subject, [{"learning_rate": rate} for rate in rates])


@promise
def check_settings_out_of_range_are_refused(subject: Subject) -> None:
    """Clips, decays, averages and accumulations out of their range are errors.

    Why: `clipnorm=-1` turns clipping off, and `clipnorm=nan` the model into NaN.

    Mend: Check them in `__init__`.
    """
    taken = subject.defaults()
    candidates = [options for options in COMMON if options.keys() <= taken.keys()]
    if not candidates:
        raise CheckSkipped("waits for a constructor that takes Keras's settings")
    _assert_refused(subject, candidates)


@promise
def check_arguments_of_its_own_are_checked(subject: Subject) -> None:
    """A number of the equation that is NaN, or a beta of 1.5, is an error.

    Why: β = 1.5 grows from step to step, and shows an hour later.

    Mend: Check them in `__init__`.
    """
    common = {"learning_rate", *(name for options in COMMON for name in options)}
    own = {
        name: value
        for name, value in subject.defaults().items()
        if name not in common and isinstance(value, float)
    }
    own.pop("loss_scale_factor", None)
    if not own:
        raise CheckSkipped("waits for an optimizer with a number of its own")
    candidates = [{name: NAN} for name in own]
    candidates += [{name: 1.5} for name in own if name.startswith("beta")]
    _assert_refused(subject, candidates)


@promise
def check_unknown_arguments_are_refused(subject: Subject) -> None:
    """An argument that does not exist is an error.

    Why: A misspelt one that is ignored leaves its default in place.

    Mend: Pass `**kwargs` on to `super().__init__`, which refuses what it does not know.
    """
    _assert_refused(subject, [{"no_such_argument": 1.0}])


@promise
def check_gradients_that_do_not_fit_are_refused(subject: Subject) -> None:
    """A gradient of another shape is an error, and nothing has changed then.

    Why: A gradient of the shape (3,) broadcasts over a kernel of (4, 3): a wrong loop
    trains on, wrongly.

    Mend: Compare the shapes of all gradients and variables before the first step.
    """
    kernel, bias, table = STEPS[0]
    for wrong in (kernel[:1], kernel[0], kernel.T, np.float32(1.0)):
        what = f"a gradient of {np.shape(wrong)} for a variable of (4, 3)"
        run = subject.run().build().follow(STEPS[1:2])
        before = _values([run])
        try:
            # The one that does not fit is the last: the others would be done by then.
            run.optimizer.apply(
                [keras.ops.convert_to_tensor(g) for g in (bias, table, wrong)],
                [*run.variables[1:], run.variables[0]],
            )
        except Exception:
            _assert_unchanged(subject, [run], before, what)
        else:
            raise _taken(subject, [run], before, what)


def _values(runs: list[Run]) -> list[np.ndarray]:
    """All that a step may change."""
    return [array for run in runs for array in [*run.numbers, *run.state]]


def _assert_unchanged(
    subject: Subject, runs: list[Run], before: list[np.ndarray], what: str
) -> None:
    if differ(_values(runs), before):
        raise failure(
            f"Expected {what} to change nothing when it is refused; variables, or the "
            "state, have moved",
            distance(_values(runs), before),
            subject.movement,
        )


def _taken(
    subject: Subject, runs: list[Run], before: list[np.ndarray], what: str
) -> CheckFailed:
    return failure(
        f"Expected an error of {what}; came none, and a step that is",
        distance(_values(runs), before),
        subject.movement,
    )


@promise
def check_too_few_gradients_are_refused(subject: Subject) -> None:
    """Fewer gradients than variables are an error, and nothing has changed then.

    Why: Pairs that are zipped silently leave the last variables out.

    Mend: Compare the two numbers in `apply`.
    """
    run = subject.run().build()
    before = _values([run])
    try:
        run.optimizer.apply(
            [backend.gradient(g, v) for g, v in zip(STEPS[0][:2], run.variables)],
            run.variables,
        )
    except Exception:
        _assert_unchanged(subject, [run], before, "a gradient too few")
    else:
        raise _taken(subject, [run], before, "two gradients for three variables")


@promise
def check_unknown_variables_are_refused(subject: Subject) -> None:
    """A variable that the optimizer was not built with is an error.

    Why: It has no slot; another variable's would be taken for it.

    Mend: Leave the check to `Optimizer.apply`.
    """
    run, stranger = subject.run().build(), Run(subject.make())
    before = _values([run, stranger])
    try:
        run.optimizer.apply(
            [backend.gradient(g, v) for g, v in zip(STEPS[0], stranger.variables)],
            stranger.variables,
        )
    except Exception:
        _assert_unchanged(subject, [run, stranger], before, "an unknown variable")
    else:
        raise _taken(subject, [run, stranger], before, "variables that are not known")
