"""Precision: float16, bfloat16, float32 and float64 variables."""

from __future__ import annotations

import numpy as np

from keras_textbook_opt.testing import backend, problem
from keras_textbook_opt.testing.comparing import (
    distance,
    farthest,
    percent,
)
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckFailed, CheckSkipped

STEPS = 64
# Half of a unit in the last place of a number in [1, 2).
HALF_UNITS = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
SHARE = 0.4  # of half a unit: each step by itself is rounded away
ALLOWED_SHARE = 0.25


@promise
def check_float32(subject: Subject) -> None:
    """Differences that 16 bits cannot represent change the steps of float32 variables.

    Why: A step that casts a gradient or a variable to 16 bits has three digits.

    Fix: Cast to float32 or to the variable's dtype, not to a 16-bit dtype.
    """
    _assert_precise(subject, "float32", 2.0**-17)


@promise
def check_float64(subject: Subject) -> None:
    """The steps of float64 variables are computed in float64, and agree with float32.

    Why: Physics and second derivatives need float64. A step that is computed in float32
    loses half of the digits.

    Fix: Cast to the variable's dtype, not to float32.
    """
    backend.require("float64")
    _assert_precise(subject, "float64", 2.0**-30)
    start = [v.astype("float64") for v in problem.values()]
    wide = Run(subject.make(), start, "float64")
    found = wide.follow(subject.steps).numbers
    subject.assert_close(found, subject.plain, "in float64 vs. in float32")


def _assert_precise(subject: Subject, dtype: str, ε: float) -> None:
    """Relative differences of size ε in variables and gradients show in the results."""
    random = np.random.default_rng(8)

    def nearby(arrays: list, size: float = ε) -> list:
        factors = [1 + size * random.uniform(0.5, 1, x.shape) for x in arrays]
        return [(x * factor).astype(dtype) for x, factor in zip(arrays, factors)]

    def after(values: list, steps: list) -> Run:
        return Run(subject.make(), values, dtype).follow(steps)

    steps = [[g.astype(dtype) for g in step] for step in subject.steps]
    start = [θ.astype(dtype) for θ in problem.values()]
    if _share(after(start, steps).numbers, after(nearby(start), steps).numbers) < 0.5:
        raise _imprecise("a variable", dtype)
    # Next to small variables, small differences of steps are not rounded away.
    small = [θ / 1024 for θ in start]
    plain, near, far = (
        after(small, [nearby(step, size) for step in steps]) for size in (0, ε, 2.0**-6)
    )
    for some, others, more in (
        (plain.numbers, near.numbers, far.numbers),
        (plain.state, near.state, far.state),
    ):
        # Signs, and integers such as `iterations`, do not follow a gradient smoothly.
        smooth = [k for k in range(len(some)) if _share([some[k]], [more[k]]) >= 0.5]
        if smooth:
            found = _share([some[k] for k in smooth], [others[k] for k in smooth])
            if found < 0.5:
                raise _imprecise("a gradient", dtype)
            return


def _share(some: list[np.ndarray], others: list[np.ndarray]) -> float:
    """The share of elements that are not equal, bit for bit."""
    unequal = [np.not_equal(a, b).ravel() for a, b in zip(some, others)]
    return float(np.mean(np.concatenate(unequal)))


def _imprecise(of: str, dtype: str) -> CheckFailed:
    digits = {"float32": "16-bit numbers", "float64": "float32"}[dtype]
    return CheckFailed(
        f"Expected {dtype} steps to depend on the digits of {of} beyond those of "
        f"{digits}; most elements of the result do not."
    )


@promise
def check_bfloat16(subject: Subject) -> None:
    """64 small steps move bfloat16 variables about as far as float32 variables.

    Why: bfloat16 has 8 bits: 0.999 is 1, and a step of a thousandth of θ is no step. A
    model that does not train gives no error.

    Fix: Keep slots and arithmetic in float32, and carry the rounding error of θ to the
    next step (Kahan summation), or round stochastically.
    """
    _assert_follows(subject, "bfloat16")


@promise
def check_float16(subject: Subject) -> None:
    """64 small steps move float16 variables about as far as float32 variables.

    Why: An ε of 1e-7 is nearly 0 in float16, and g² below 1e-4 soon is.

    Fix: Keep slots and arithmetic in float32, and carry the rounding error of θ.
    """
    _assert_follows(subject, "float16")


@promise
def check_float16_small_gradients(subject: Subject) -> None:
    """float16 gradients of about 2⁻¹⁴, whose squares are zero, give finite steps.

    Why: Gradients usually have this size. Dividing by the square root of zero is
    infinite.

    Fix: Square, average and divide in float32.
    """
    steps = [[2.0**-14 * np.sign(g) * (1 + abs(g) / 4) for g in s] for s in _steps(4)]
    run = Run(subject.make(), dtype="float16").follow(steps)
    wide = Run(subject.make()).follow(steps)
    what = "four steps on gradients of size 2⁻¹⁴"
    _assert_near(run, wide, "float16", 8 * HALF_UNITS["float16"], what)


def _assert_follows(subject: Subject, dtype: str) -> None:
    half = HALF_UNITS[dtype]
    steps = _steps(STEPS)
    rate, wide = _rate_for(subject, SHARE * half * STEPS, steps)
    narrow = Run(
        subject.make(learning_rate=rate), dtype=dtype, mode=backend.fastest
    ).follow(steps)
    _assert_near(narrow, wide, dtype, 2 * half, f"{STEPS} small steps")


def _assert_near(
    narrow: Run, wide: Run, dtype: str, rounding: float, what: str
) -> None:
    """16-bit variables move about as far as float32 variables."""
    movement = distance(wide.numbers, wide.start)
    allowed = rounding + ALLOWED_SHARE * movement
    for name, value, expected, start in zip(
        problem.NAMES, narrow.numbers, wide.numbers, wide.start
    ):
        off = np.abs(value.astype("float64") - expected)
        if not off.max() <= allowed:
            place = farthest(off)
            size = percent(off[place], movement)
            raise CheckFailed(
                f"Expected {what} to move a {dtype} variable "
                f"({name}{list(map(int, place))}) from {start[place]:.5g} to "
                f"{expected[place]:.5g}, as in float32, within {allowed:.2g}; got "
                f"{value[place]:.5g} (off by {size} of the movement).",
                [f"{dtype}{'' if np.isfinite(value).all() else ' is not finite'}"],
            )


def _steps(count: int) -> list[list]:
    """Gradients against the sign of θ, so that it moves away from 0, step by step.

    The gradients of one element have one size in all steps.
    """
    random = np.random.default_rng(6)
    sizes = [random.choice([0.25, 0.5, 1.0], θ.shape) for θ in problem.values()]
    return [
        [
            (-np.sign(θ) * size * random.uniform(0.5, 1.5, θ.shape)).astype("float32")
            for θ, size in zip(problem.values(), sizes)
        ]
        for _ in range(count)
    ]


def _rate_for(subject: Subject, movement: float, steps: list) -> tuple[float, Run]:
    """A rate with which these steps move float32 variables by about `movement`."""
    rate = subject.rate
    for _ in range(4):
        run = Run(subject.make(learning_rate=rate), mode=backend.fastest).follow(steps)
        moved = distance(run.numbers, run.start)
        if not 0 < moved < np.inf:
            break
        if 0.75 <= moved / movement <= 1.5:
            return rate, run
        rate *= movement / moved
    raise CheckSkipped(
        f"no learning rate was found with which {STEPS} steps move the variables by "
        f"{movement:.2g}"
    )
