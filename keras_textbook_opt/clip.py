"""The three clips, on gradients that are merged and summed over the replicas.

Each keeps the kind of a gradient: `Rows` stay `Rows`. A clip by norm is one
multiplication by a scalar.
"""

import keras
from keras import ops

from keras_textbook_opt import fused


def by_norm(gradients, c: float):
    """`g ← g·c/max(‖g‖₂, c)` for each gradient `g` of the list."""
    scales = ops.unstack(c / ops.maximum(norms(gradients), c), num=len(gradients))
    return [_scaled(g, scale) for g, scale in zip(gradients, scales)]


def by_global_norm(gradients, c: float):
    """`g ← g·c/max(‖(g, g′, …)‖₂, c)` for each gradient `g` of the list."""
    scale = c / ops.maximum(global_norm(gradients), c)
    return [_scaled(g, scale) for g in gradients]


def by_value(gradients, c: float):
    """`g ← min(max(g, −c), c)` for each gradient `g` of the list."""
    return [g.with_values(ops.clip(g.values, -c, c)) for g in gradients]


def norms(gradients):
    """`‖g‖₂` for each gradient, as one vector."""
    return _root(_squares(gradients), lambda: _norms_by_the_largest(gradients))


def global_norm(gradients):
    """`‖(g, g′, …)‖₂` over all gradients: the norm of their norms."""
    return _root(
        ops.sum(_squares(gradients)),
        lambda: _norm_by_the_largest(_norms_by_the_largest(gradients)),
    )


def _root(squares, otherwise):
    """`√squares`; `otherwise()` where they overflow, which the norms may not."""
    finite = ops.all(ops.isfinite(squares))
    return ops.cond(finite, lambda: ops.sqrt(squares), otherwise)


def _squares(gradients):
    return 2 * _vector([fused.l2_loss(g.values) for g in gradients])


def _norms_by_the_largest(gradients):
    return _vector([_norm_by_the_largest(g.values) for g in gradients])


def _norm_by_the_largest(x):
    """`M·‖x/M‖₂` with `M = max|x|`."""
    largest = ops.max(ops.abs(x), initial=0.0)
    usable = ops.logical_and(largest > 0, ops.isfinite(largest))
    divisor = ops.where(usable, largest, ops.ones_like(largest))
    return largest * ops.sqrt(2 * fused.l2_loss(x / divisor))


def _vector(scalars):
    dtype = keras.backend.result_type(*(s.dtype for s in scalars))
    return ops.stack([ops.cast(s, dtype) for s in scalars])


def _scaled(gradient, scale):
    return gradient * ops.cast(scale, gradient.values.dtype)
