"""The three clips, on gradients that are merged and summed over the replicas.

Each keeps the kind of a gradient: `Rows` stay `Rows`. A clip by norm is one
multiplication by a scalar.
"""

import keras
from keras import ops

from keras_textbook_opt import fused


def by_norm(gradients, c: float):
    """`g ← g·c/max(‖g‖₂, c)` for each gradient `g` of the list."""
    return [g * _factor(norm, c, g) for g, norm in zip(gradients, norms(gradients))]


def by_global_norm(gradients, c: float):
    """`g ← g·c/max(‖(g, g′, …)‖₂, c)` for each gradient `g` of the list."""
    norm = global_norm(gradients)
    return [g * _factor(norm, c, g) for g in gradients]


def by_value(gradients, c: float):
    """`g ← min(max(g, −c), c)` for each gradient `g` of the list."""
    return [g.with_values(ops.clip(g.values, -c, c)) for g in gradients]


def norms(gradients):
    """`‖g‖₂` for each gradient, also where `g²` overflows and `‖g‖₂` does not."""
    values = [g.values for g in gradients]
    squares = [fused.sum_of_squares(x) for x in values]
    return ops.cond(
        ops.all(ops.isfinite(_wide(squares))),
        lambda: [ops.sqrt(s) for s in squares],
        lambda: [_norm_by_the_largest(x) for x in values],
    )


def global_norm(gradients):
    """`‖(g, g′, …)‖₂` over all gradients: the norm of their norms."""
    values = [g.values for g in gradients]
    squared = ops.sum(_wide([fused.sum_of_squares(x) for x in values]))
    return ops.cond(
        ops.isfinite(squared),
        lambda: ops.sqrt(squared),
        lambda: _norm_by_the_largest(_wide([_norm_by_the_largest(x) for x in values])),
    )


def _factor(norm, c: float, gradient):
    return ops.cast(c / ops.maximum(norm, c), gradient.values.dtype)


def _wide(scalars):
    """Scalars as one vector of the widest of their dtypes."""
    dtype = keras.backend.result_type(*(s.dtype for s in scalars))
    return ops.stack([ops.cast(s, dtype) for s in scalars])


def _norm_by_the_largest(x):
    """`M·‖x/M‖₂` with `M = max|x|`."""
    largest = ops.max(ops.abs(x), initial=0.0)
    largest = ops.where(largest > 0, largest, ops.ones_like(largest))
    return largest * ops.sqrt(fused.sum_of_squares(x / largest))
