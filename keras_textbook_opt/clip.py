"""The three clips, on gradients that are merged and summed over the replicas.

Each keeps the kind of a gradient: `Rows` stay `Rows`. A clip by norm is one
multiplication by a scalar.
"""

import keras
from keras import ops


def by_norm(gradient, c: float):
    """`g ← g·c/max(‖g‖₂, c)`."""
    return gradient * (c / ops.maximum(norm(gradient), c))


def by_global_norm(gradients, c: float):
    """`g ← g·c/max(‖(g, g′, …)‖₂, c)` for each gradient `g` of the list."""
    factor = c / ops.maximum(norm(*gradients), c)
    return [g * ops.cast(factor, g.values.dtype) for g in gradients]


def by_value(gradient, c: float):
    """`g ← min(max(g, −c), c)`."""
    return gradient.with_values(ops.clip(gradient.values, -c, c))


def norm(*gradients):
    """`‖(g, g′, …)‖₂`, in the widest dtype of the gradients, also where `g²` overflows."""
    dtype = keras.backend.result_type("float32", *(g.values.dtype for g in gradients))
    values = [ops.cast(g.values, dtype) for g in gradients]
    squared = _sum_of_squares(values)
    return ops.cond(
        ops.isfinite(squared),
        lambda: ops.sqrt(squared),
        lambda: _norm_by_the_largest(values),
    )


def _norm_by_the_largest(values):
    """`M·‖g/M‖₂` with `M = max|g|`."""
    largest = ops.max(ops.stack([ops.max(ops.abs(x), initial=0.0) for x in values]))
    return largest * ops.sqrt(_sum_of_squares([x / largest for x in values]))


def _sum_of_squares(values):
    return sum(ops.sum(ops.square(x)) for x in values)
