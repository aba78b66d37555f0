"""Two roads that must meet: how far apart they end, in units of the movement.

A step of float32 rounds a handful of times, and each time by at most ε of the values
that it handles: `ROUNDINGS·ε` a step bounds what two right ways to compute one number
differ by. How much an equation makes of such a difference is measured beforehand
(`Subject.noise`) and added.
"""

from __future__ import annotations

import numpy as np

from keras_textbook_opt.testing.problem import NAMES
from keras_textbook_opt.testing.verdicts import CheckFailed, CheckSkipped

ROUNDINGS = 16
# Above this share of the movement a comparison would say nothing.
USELESS = 0.1


def assert_meet(
    found: list[np.ndarray],
    expected: list[np.ndarray],
    start: list[np.ndarray],
    what: str,
    *,
    steps: int,
    noise: float = 0.0,
    names: list[str] = NAMES,
) -> None:
    """Both roads from `start` end in one place, up to the rounding of float32.

    Raises:
        CheckFailed: They do not. `what` says which two roads: "clipped by the optimizer
            and clipped by hand".
    """
    movement = _movement(expected, start)
    allowed = rounding(steps, [*expected, *start]) + 4 * noise
    if movement == 0 or allowed > USELESS * movement:
        raise CheckSkipped(
            f"waits for steps that move the variables by more than rounding: these "
            f"move them by {movement:.2g}, and rounding may be {allowed:.2g}"
        )
    _assert_within(allowed, found, expected, movement, what, steps, names)


def rounding(steps: int, values: list[np.ndarray]) -> float:
    """What rounding may add up to in so many steps on numbers of this size."""
    reach = max(np.abs(value).max(initial=0.0) for value in values)
    return ROUNDINGS * float(np.finfo("float32").eps) * steps * (1 + float(reach))


def assert_same(
    found: list[np.ndarray],
    expected: list[np.ndarray],
    start: list[np.ndarray],
    what: str,
    *,
    steps: int,
    names: list[str] = NAMES,
) -> None:
    """The same, to the last bit: both run one program on the same numbers."""
    movement = _movement(expected, start)
    _assert_within(0.0, found, expected, movement, what, steps, names)


def differ(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    """Whether an option changes these steps at all."""
    return any(not np.array_equal(a, b) for a, b in zip(some, others))


def distance(some: list[np.ndarray], others: list[np.ndarray]) -> float:
    """The largest difference of two numbers in one place; NaN where one is NaN."""
    largest = [
        np.abs(np.subtract(a, b, dtype="float64")).max(initial=0.0)
        for a, b in zip(some, others)
    ]
    return float(np.max(largest))


def farthest(off: np.ndarray) -> tuple:
    """Where the largest difference is; NaN is larger than any."""
    return np.unravel_index(np.argmax(np.where(np.isnan(off), np.inf, off)), off.shape)


def failure(said: str, off: float, movement: float) -> CheckFailed:
    """What was expected and what came, with the difference in units of the movement."""
    size = off / movement if movement else np.inf
    return CheckFailed(f"{said}: off by {size:.2g} of the movement ({movement:.3g}).")


def ended(said: str) -> CheckFailed:
    """The same where an error came in place of numbers."""
    return CheckFailed(f"{said}: off by all of the movement, since no step came of it.")


def _movement(expected, start) -> float:
    """How far the variables go: the unit of every difference."""
    return distance(expected, start)


def _assert_within(allowed, found, expected, movement, what, steps, names) -> None:
    for name, one, other in zip(names, found, expected):
        if one.shape != other.shape:
            raise failure(
                f"{what}: `{name}` is {one.shape}, not {other.shape}",
                movement,
                movement,
            )
        off = np.abs(np.subtract(one, other, dtype="float64"))
        if off.size == 0 or (np.isfinite(one).all() and off.max() <= allowed):
            continue
        place = farthest(off)
        size = off[place] / movement if movement else np.inf
        raise CheckFailed(
            f"{what}: off by {size:.2g} of the movement after {steps} steps. "
            f"Expected `{name}`{list(map(int, place))} = {other[place]:.7g}, "
            f"came {one[place]:.7g}; the variables moved by {movement:.3g}, and "
            f"{_allowance(allowed, movement)}."
        )


def _allowance(allowed: float, movement: float) -> str:
    if allowed == 0:
        return "the two must be the same to the last bit"
    return f"rounding explains {allowed / movement:.1g} of that"
