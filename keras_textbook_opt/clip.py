"""The three clips, on gradients that are merged and summed over the replicas.

Each keeps the form of a gradient: `Rows` stay `Rows`. A clip by norm multiplies by one
scalar. Where `Σg²` overflows (`‖g‖₂` above 1.8e19 in float32), that scalar is zero.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_textbook_opt import backends


def by_norm(gradients: list, squares: list, c: float) -> list:
    """`g ← g·c/max(‖g‖₂, c)` for each gradient `g`."""
    scales = backends.active.clip_scales(squares, c)
    return [g * scale for g, scale in zip(gradients, scales)]


def by_global_norm(gradients: list, squares: list, c: float) -> list:
    """`g ← g·c/max(‖(g, g′, …)‖₂, c)` for each gradient `g`."""
    (scale,) = backends.active.clip_scales([backends.active.total(squares)], c)
    return [g * scale for g in gradients]


def by_value(gradients: list, c: float) -> list:
    """`g ← min(max(g, −c), c)` for each gradient `g`."""
    return backends.active.clipped_by_value(gradients, c)


def fraction(gradients: list, squares: list, optimizer: Any) -> Any:
    """The part of the gradients that the optimizer's clip changes; `None` without one."""
    if optimizer.clipnorm is not None:
        c = optimizer.clipnorm
        clipped = [ops.cast(s > c * c, "float32") for s in squares]
        return sum(clipped) / len(clipped)
    if optimizer.global_clipnorm is not None:
        c = optimizer.global_clipnorm
        return ops.cast(backends.active.total(squares) > c * c, "float32")
    if optimizer.clipvalue is not None:
        largest = [ops.max(ops.abs(g.values), initial=0.0) for g in gradients]
        clipped = [ops.cast(x > optimizer.clipvalue, "float32") for x in largest]
        return ops.max(ops.stack(clipped))
    return None
