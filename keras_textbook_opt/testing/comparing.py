"""Compare two ways to compute the same result, in units of the distance moved.

A float32 step rounds a handful of times, each time by at most ε of the values that it
handles: two correct ways to compute one number differ by at most `ROUNDINGS·ε` a step.
How much an equation amplifies such a difference is measured beforehand
(`Subject.noise`) and added.
"""

from __future__ import annotations

import numpy as np

from keras_textbook_opt.testing.problem import NAMES, values
from keras_textbook_opt.testing.verdicts import (
    CheckFailed,
    CheckSkipped,
    without_details,
)

ROUNDINGS = 16
# Above this share of the movement a comparison would prove nothing.
USELESS = 0.1


def assert_close(
    found: list[np.ndarray],
    expected: list[np.ndarray],
    what: str,
    *,
    steps: int,
    noise: float,
    start: list[np.ndarray],
    names: list[str],
) -> None:
    """Both results agree up to the rounding of float32.

    Raises:
        CheckFailed: They do not. `what` names both: "clipped by the optimizer vs.
            clipped by hand".
    """
    movement = distance(expected, start)
    allowed = rounding(steps, [*expected, *start]) + 4 * noise
    if movement == 0 or allowed > USELESS * movement:
        raise CheckSkipped(
            f"these steps move the variables by {movement:.2g}, which is not enough to "
            f"tell an error from rounding ({allowed:.2g})"
        )
    explained = f"rounding in {steps} steps explains {percent(allowed, movement)}"
    _assert_within(allowed, explained, found, expected, movement, what, names)


def rounding(steps: int, arrays: list[np.ndarray]) -> float:
    """How much rounding can add up to in so many steps on numbers of this size."""
    reach = max(np.abs(array).max(initial=0.0) for array in arrays)
    return ROUNDINGS * float(np.finfo("float32").eps) * steps * (1 + float(reach))


def assert_same(
    found: list[np.ndarray],
    expected: list[np.ndarray],
    what: str,
    *,
    start: list[np.ndarray] | None = None,
    names: list[str] = NAMES,
) -> None:
    """Both results are equal bit for bit: one program ran twice on the same numbers."""
    movement = distance(expected, values() if start is None else start)
    explained = "both must be equal bit for bit"
    _assert_within(0.0, explained, found, expected, movement, what, names)


def assert_finite(
    arrays: list[np.ndarray], after: str, names: list[str] = NAMES
) -> None:
    """No element is NaN or infinite."""
    for name, array in zip(names, arrays):
        if not np.isfinite(array).all():
            raise CheckFailed(
                f"Expected finite values after {after}; `{name}` is "
                f"{array.ravel()[:4].tolist()}…"
            )


def differ(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    """Whether an option changes these steps at all."""
    return any(not np.array_equal(a, b) for a, b in zip(some, others))


def distance(some: list[np.ndarray], others: list[np.ndarray]) -> float:
    """The largest difference between two numbers in one place; NaN if one is NaN."""
    largest = [
        np.abs(np.subtract(a, b, dtype="float64")).max(initial=0.0)
        for a, b in zip(some, others)
    ]
    return float(np.max(largest))


def farthest(off: np.ndarray) -> tuple:
    """Where the largest difference is; NaN is larger than any."""
    return np.unravel_index(np.argmax(np.where(np.isnan(off), np.inf, off)), off.shape)


def failure(said: str, off: float, movement: float) -> CheckFailed:
    """A failure with its size in units of the movement."""
    return CheckFailed(f"{said} (off by {percent(off, movement)} of the movement).")


def percent(off: float, movement: float) -> str:
    """`off` as a share of the movement."""
    size = 100 * off / movement if movement else np.inf
    return f"{size:.2g} %" if size < 1e3 else f"{size:.1e} %"


def _assert_within(allowed, explained, found, expected, movement, what, names) -> None:
    for name, one, other in zip(names, found, expected):
        if one.shape != other.shape:
            raise CheckFailed(f"{what}: `{name}` is {one.shape}, not {other.shape}.")
        off = np.abs(np.subtract(one, other, dtype="float64"))
        is_finite = bool(np.isfinite(one).all())
        if off.size == 0 or (is_finite and off.max() <= allowed):
            continue
        place = farthest(off)
        where = ", ".join(str(int(k)) for k in place)
        raise CheckFailed(
            f"{what}: they differ by {percent(off[place], movement)} of the movement. "
            f"Expected {name}[{where}] = {other[place]:.7g}, got {one[place]:.7g} "
            f"({explained}).",
            [f"{without_details(what)}{'' if is_finite else ' (not finite)'}"],
        )
