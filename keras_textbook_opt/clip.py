"""The three clips, on gradients that are merged and summed over the replicas.

Each keeps the form of a gradient: `Rows` stay `Rows`. A clip by norm multiplies by one
scalar. Where `Σg²` overflows (`‖g‖₂` above 1.8e19 in float32), that scalar is zero.
"""

from collections import namedtuple
from typing import Any

from keras import ops

from keras_textbook_opt import backends
from keras_textbook_opt.monitor import Statistics

# The `c` of the three clips, of which one at most is set.
Clips = namedtuple("Clips", ["norm", "global_norm", "value"])


def clipped(grads: list, clips: Clips, statistics: Statistics | None, η: Any) -> list:
    """The gradients, clipped; `statistics`, if any, record their norms and the rate."""
    squares: list = []
    if statistics or clips.norm is not None or clips.global_norm is not None:
        squares = backends.active.squares(grads)
    if statistics:
        part = fraction(grads, squares, clips)
        statistics.record(backends.active.total(squares), part, η)
    if clips.norm is not None:
        return by_norm(grads, squares, clips.norm)
    if clips.global_norm is not None:
        return by_global_norm(grads, squares, clips.global_norm)
    if clips.value is not None:
        c = clips.value
        return [g.with_values(ops.clip(g.values, -c, c)) for g in grads]
    return grads


def by_norm(grads: list, squares: list, c: float) -> list:
    """`g ← g·c/max(‖g‖₂, c)` for each gradient `g`, of the given `‖g‖₂²`."""
    scales = backends.active.clip_scales(squares, c)
    return [g * scale for g, scale in zip(grads, scales)]


def by_global_norm(grads: list, squares: list, c: float) -> list:
    """`g ← g·c/max(‖(g, g′, …)‖₂, c)` for each gradient `g`."""
    (scale,) = backends.active.clip_scales([backends.active.total(squares)], c)
    return [g * scale for g in grads]


def fraction(grads: list, squares: list, clips: Clips) -> Any:
    """The part of the gradients that the clip changes; `None` without one."""
    if clips.norm is not None:
        parts = [ops.cast(s > clips.norm**2, "float32") for s in squares]
        return sum(parts) / len(parts)
    if clips.global_norm is not None:
        total = backends.active.total(squares)
        return ops.cast(total > clips.global_norm**2, "float32")
    if clips.value is not None:
        are_cut = [ops.any(ops.abs(g.values) > clips.value) for g in grads]
        return ops.cast(ops.any(ops.stack(are_cut)), "float32")
    return None
