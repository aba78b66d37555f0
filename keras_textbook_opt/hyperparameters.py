"""Hyperparameters, checked once: a number in its range comes back as `float`.

Every error says what was expected and what came, as Keras's do.
"""

from __future__ import annotations

import math
import numbers
from typing import Any


def real(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    below: float = math.inf,
    at_most: float = math.inf,
) -> float:
    """`value` as a float; a `ValueError` unless it is a finite number in the range."""
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    number = float(value) if is_real else math.nan
    in_range = above < number < below and at_least <= number <= at_most
    if not in_range or math.isinf(number):
        bounds = {">": above, ">=": at_least, "<": below, "<=": at_most}
        limits = [
            f"{sign} {bound:g}"
            for sign, bound in bounds.items()
            if math.isfinite(bound)
        ]
        expected = " and ".join(["a finite number", *limits])
        raise ValueError(_message(name, expected, value))
    return number


def integer(name: str, value: Any, *, at_least: int) -> int:
    """`value` as an int; a `ValueError` unless it is one and large enough."""
    fits = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not fits or value < at_least:
        raise ValueError(_message(name, f"an integer >= {at_least}", value))
    return int(value)


def boolean(name: str, value: Any) -> bool:
    """`value`; a `ValueError` unless it is `True` or `False`."""
    if not isinstance(value, bool):
        raise ValueError(_message(name, "True or False", value))
    return value


def sparse_update(value: Any) -> str:
    """`value`; a `ValueError` unless it is `"exact"` or `"lazy"`."""
    if value not in ("exact", "lazy"):
        raise ValueError(_message("sparse_update", "'exact' or 'lazy'", value))
    return value


def text(name: str, value: Any) -> str:
    """`value`; a `ValueError` unless it is a string."""
    if not isinstance(value, str):
        raise ValueError(_message(name, "a string", value))
    return value


def optional(check, name: str, value: Any, **limits: Any) -> Any:
    """`check(name, value)`, or `None` for `None`."""
    return None if value is None else check(name, value, **limits)


def _message(name: str, expected: str, received: Any) -> str:
    return f"`{name}` must be {expected}. Received: {name}={received!r}"
