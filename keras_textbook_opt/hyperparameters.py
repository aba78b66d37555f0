"""Hyperparameters, checked once: a number in its range comes back as `float`.

Every error says what was expected and what came, as Keras's do. An argument that does
not exist is answered with the one that was meant.
"""

from __future__ import annotations

import difflib
import math
import numbers
import re
import reprlib
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_textbook_opt import backends

# How other libraries, and Keras before, write what is written so here.
SPELLINGS = {
    "b1": "`beta_1`",
    "b2": "`beta_2`",
    "beta": "`momentum`",
    "beta1": "`beta_1`",
    "beta2": "`beta_2`",
    "betas": "`beta_1` and `beta_2`",
    "decay": "a schedule as `learning_rate`, or `weight_decay`",
    "ema_decay": "`ema_momentum`",
    "eps": "`epsilon`",
    "max_grad_norm": "`clipnorm` or `global_clipnorm`",
    "momentum": "`beta_1`",
    "weight_decay_rate": "`weight_decay`",
    "wd": "`weight_decay`",
}


def real(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    below: float = math.inf,
    at_most: float = math.inf,
) -> float:
    """`value` as a float; a `ValueError` unless it is a finite number in the range.

    A step computes in float32, so that the number must be in the range there as well.
    """
    number = _as_float(value)

    def fits(number: float) -> bool:
        in_range = above < number < below and at_least <= number <= at_most
        return in_range and math.isfinite(number)

    if not (fits(number) and fits(_in_float32(number))):
        bounds = {">": above, ">=": at_least, "<": below, "<=": at_most}
        limits = [
            f"{sign} {bound:g}"
            for sign, bound in bounds.items()
            if math.isfinite(bound)
        ]
        expected = " and ".join(["a finite number", *limits])
        expected += " in float32" if fits(number) else ""
        raise ValueError(_message(name, expected, value))
    return number


def _as_float(value: Any) -> float:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _in_float32(number: float) -> float:
    """`number` as float32 has it, where the smallest numbers are taken for zero."""
    with np.errstate(over="ignore"):
        rounded = float(np.float32(number))
    return rounded if abs(rounded) >= np.finfo(np.float32).tiny else 0.0


def scalar(name: str, value: Any) -> Any:
    """`value`, a number or of one element; a `ValueError` if it has more, or none."""
    if isinstance(value, (list, tuple)):
        value = np.asarray(value)
    if not (hasattr(value, "dtype") or isinstance(value, numbers.Real)):
        raise ValueError(_message(name, "a number", value))
    shape = getattr(value, "shape", ())
    if getattr(shape, "rank", 0) is None or None in shape:
        return ops.reshape(value, ())
    if math.prod(shape) != 1:
        expected = f"a scalar, or of one element. Its shape is {tuple(shape)}"
        raise ValueError(_message(name, expected, value))
    return ops.reshape(value, ()) if len(shape) else value


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


def exact_or_lazy(value: Any) -> str:
    """`value`; a `ValueError` unless it is `"exact"` or `"lazy"`."""
    if not isinstance(value, str) or value not in ("exact", "lazy"):
        raise ValueError(_message("sparse_update", "'exact' or 'lazy'", value))
    if value == "lazy" and not backends.active.has_rows:
        warnings.warn(
            "`sparse_update='lazy'` is the same as 'exact' here: with the "
            f"{keras.backend.backend()} backend, the gradient of an embedding names "
            "all of its rows.",
            stacklevel=4,
        )
    return value


def multipliers(name: str, value: Any) -> dict[str, float]:
    """`value` with floats; a `ValueError` unless it maps patterns to numbers >= 0.

    It may be a dict or, as configs have it, a list of its pairs.
    """
    expected = "a dict of regular expressions, each with a number >= 0, or its pairs"
    if isinstance(value, Mapping):
        value = list(value.items())
    if not (isinstance(value, (list, tuple)) and all(map(_is_pair, value))):
        raise ValueError(_message(name, expected, value))
    factors = {
        pattern(f"`{name}` must be a dict of", text): real(
            f"{name}[{text!r}]", factor, at_least=0
        )
        for text, factor in value
    }
    if len(factors) < len(value):
        raise ValueError(_message(name, f"{expected}, no pattern twice", value))
    return factors


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2


def pattern(expected: str, value: Any) -> str:
    """`value`; a `ValueError` unless it is a regular expression, as `expected`."""
    try:
        re.compile(text("a pattern", value))
    except (ValueError, re.error, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{expected} regular expressions. Received: {value!r} ({error})"
        ) from None
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


def unknown(optimizer: type, names: dict[str, Any], known: Any) -> str:
    """What to say of arguments that `optimizer` does not have: which were meant."""
    for name in names:
        if name in known:
            return (
                f"`{name}` is an argument of `{optimizer.__name__}` alone: expected "
                "its constructor to keep it, and not to pass it on to "
                f"`super().__init__`. Received: {name}={names[name]!r}"
            )
    wrong = [f"`{name}`{_meant(name, known)}" for name in names]
    received = ", ".join(f"{name}={value!r}" for name, value in names.items())
    return f"`{optimizer.__name__}` has no {', no '.join(wrong)}. Received: {received}"


def _meant(name: str, known: Any) -> str:
    spelling = SPELLINGS.get(name, "")
    if spelling and set(re.findall("`(.*?)`", spelling)) <= set(known):
        return f": expected {spelling}"
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f": the closest is `{close[0]}`"
    return f": expected some of {', '.join(f'`{n}`' for n in known)}"


def shown(value: Any) -> str:
    """A setting as a user would write it; a schedule or a callable by its name."""
    if isinstance(value, keras.Variable):
        try:
            with backends.active.outside_the_graph():
                return str(keras.ops.convert_to_numpy(value.value))
        except Exception:
            return "…"  # The value is not known while a step is traced.
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    if isinstance(value, dict):  # in its own order, which `reprlib` does not keep
        items = [f"{key!r}: {item!r}" for key, item in value.items()]
        return f"{{{', '.join([*items[:4], *['...'] * (len(items) > 4)])}}}"
    return reprlib.repr(value)
