"""Variables of 16 bits: they go where those of float32 go, as far as they can show."""

from __future__ import annotations

import numpy as np

from keras_textbook_opt.testing import problem
from keras_textbook_opt.testing.comparing import distance, failure, farthest
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckSkipped

STEPS = 64
# Half of a unit in the last place of a number in [1, 2).
HALF_UNITS = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
SHARE = 0.4  # of half a unit: each step by itself is rounded away
ALLOWED_UNITS, ALLOWED_SHARE = 1.0, 0.25


@promise
def check_bfloat16_follows_float32(subject: Subject) -> None:
    """64 small steps move bfloat16 variables about as far as those of float32.

    Why: bfloat16 has 8 bits: 0.999 is 1, and a step of a thousandth of θ is no step. A
    model whose loss stays where it is gives no error.

    Mend: Keep slots and arithmetic in float32, and carry what rounding takes off θ to
    the next step (Kahan's summation), or round at random.
    """
    _assert_follows(subject, "bfloat16")


@promise
def check_float16_follows_float32(subject: Subject) -> None:
    """The same for float16.

    Why: An ε of 1e-7 is next to nothing in float16, and g² below 1e-4 is soon zero.

    Mend: As for bfloat16.
    """
    _assert_follows(subject, "float16")


@promise
def check_small_gradients_of_float16(subject: Subject) -> None:
    """Gradients of about 2⁻¹⁴, whose squares are zero in float16, give finite steps.

    Why: It is the usual size of a gradient. Zero below a root below a division is
    infinite.

    Mend: Square, average and divide in float32.
    """
    steps = [[2.0**-14 * np.sign(g) * (1 + abs(g) / 4) for g in s] for s in _steps(4)]
    run = Run(subject.make(), dtype="float16").follow(steps)
    wide = Run(subject.make()).follow(steps)
    unit = 2 * HALF_UNITS["float16"]
    for name, value, expected in zip(problem.NAMES, run.numbers, wide.numbers):
        off, movement = (
            distance([value], [expected]),
            distance(wide.numbers, wide.start),
        )
        allowed = 4 * unit + ALLOWED_SHARE * movement
        if not off <= allowed:
            raise failure(
                f"Expected four steps on gradients of size 2⁻¹⁴ to take `{name}` of "
                f"float16 to {expected.ravel()[:3].tolist()}…, as in float32, give or "
                f"take {allowed:.2g}; came {value.ravel()[:3].tolist()}…",
                off,
                movement,
            )


def _assert_follows(subject: Subject, dtype: str) -> None:
    half = HALF_UNITS[dtype]
    steps = _steps(STEPS)
    rate = _rate_for(subject, SHARE * half * STEPS, steps)
    wide = Run(subject.make(learning_rate=rate)).follow(steps)
    movement = distance(wide.numbers, wide.start)
    narrow = Run(subject.make(learning_rate=rate), dtype=dtype).follow(steps)
    for name, value, expected, start in zip(
        problem.NAMES, narrow.numbers, wide.numbers, wide.start
    ):
        off = np.abs(value.astype("float64") - expected)
        allowed = ALLOWED_UNITS * 2 * half + ALLOWED_SHARE * movement
        if not off.max() <= allowed:
            place = farthest(off)
            raise failure(
                f"Expected {STEPS} small steps to take `{name}`"
                f"{list(map(int, place))} of {dtype} from {start[place]:.5g} to "
                f"{expected[place]:.5g}, as in float32, give or take {allowed:.2g} (a "
                "unit in the last place, and a quarter of the movement); came "
                f"{value[place]:.5g}",
                off[place],
                movement,
            )


def _steps(count: int) -> list[list]:
    """Gradients against the sign of θ, so that it moves away from 0, step by step.

    An element's are of one size in all steps, and those of another of another.
    """
    random = np.random.default_rng(6)
    sizes = [random.choice([0.25, 0.5, 1.0], θ.shape) for θ in _start()]
    return [
        [
            (-np.sign(θ) * size * random.uniform(0.5, 1.5, θ.shape)).astype("float32")
            for θ, size in zip(_start(), sizes)
        ]
        for _ in range(count)
    ]


def _start() -> list[np.ndarray]:
    return problem.values()


def _rate_for(subject: Subject, movement: float, steps: list[list]) -> float:
    """A rate with which these steps move float32 by about so much."""
    rate = subject.rate
    for _ in range(4):
        run = Run(subject.make(learning_rate=rate)).follow(steps)
        moved = distance(run.numbers, run.start)
        if not 0 < moved < np.inf:
            break
        if 0.75 <= moved / movement <= 1.5:
            return rate
        rate *= movement / moved
    raise CheckSkipped(
        f"waits for a learning rate with which {STEPS} steps move the variables by "
        f"{movement:.2g}"
    )
