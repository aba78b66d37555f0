"""The three clips, on gradients that are merged and summed over the replicas.

Each keeps the kind of a gradient: `Rows` stay `Rows`. A clip by norm is one
multiplication by a scalar, the scale `c/max(‖g‖₂, c)`. Where the squares of `‖g‖₂` or
the scale leave the range of the dtype, the scale is `p·q` with `q = c/max(‖g·p‖₂, c·p)`
and a `p` such that neither does, and `g` is scaled twice by its root `√p·√q`. So a clip
is right for every finite `g` and every `c`, down to the smallest normal number (1e-38
in float32), below which most kernels take a number for zero.
"""

import functools
from typing import final

import numpy as np
from keras import ops

from keras_textbook_opt import backends
from keras_textbook_opt.norms import Norms

# `c/‖g‖` may be too small for one factor, even where `‖g‖²` is not too large.
SMALL = 2.0**-32
# Norms up to so many times `c`, or 1, are ordinary: their scale is one factor.
ORDINARY, LARGEST = 2.0**40, 2.0**62
# What an extraordinary norm is multiplied by before it is computed.
SHRINKING = {"float32": 2.0**-80, "float64": 2.0**-530}


def by_norm(norms: Norms, c: float):
    """`g ← g·c/max(‖g‖₂, c)` for each gradient `g` of the list."""
    return _clipped(norms, c, together=False)


def by_global_norm(norms: Norms, c: float):
    """`g ← g·c/max(‖(g, g′, …)‖₂, c)` for each gradient `g` of the list."""
    return _clipped(norms, c, together=True)


def by_value(norms: Norms, c: float):
    """`g ← min(max(g, −c), c)` for each gradient `g` of the list."""
    clamped = backends.active.clamped(norms.gradients, c)
    return [g.with_values(x) for g, x in zip(norms.gradients, clamped)]


def _clipped(norms: Norms, c: float, together: bool):
    """Clip by the norm of all gradients `together`, or of each, in one branch or none.

    The branch leaves ordinary gradients as they are, and their scales to whoever takes
    the step. A compiler would copy what comes out of a branch: it has scalars come out.
    """
    gradients = norms.gradients
    if norms.known is not None:
        known = norms.known_total if together else norms.known
        scales = backends.active.clip_scales(known, c, len(gradients))
        return [g * scale for g, scale in zip(gradients, scales)]
    values = _Values(norms, together)
    if c < SMALL:
        p = values.normalizers()
        clipped = values.times_squared(_roots(c, values.norms(p), p))
        return [g.with_values(x) for g, x in zip(gradients, clipped)]
    all_are, scales, roots = _branches(c, values)
    if backends.active.compiles_branches():
        first, factors = _two_factors(values, all_are, scales, roots)
        clipped = values.times(first)
    else:
        clipped, factors = backends.active.chosen(
            all_are,
            lambda: (values.arrays, scales()),
            lambda: (
                values.times_squared(roots()),
                [ops.ones_like(s) for s in scales()],
            ),
        )
    return [
        g.with_values(x) * ops.cast(factor, x.dtype)
        for g, x, factor in zip(gradients, clipped, values.of_each(factors))
    ]


def _branches(c: float, values):
    """Whether all norms are ordinary, and what gives scales then, and roots if not."""
    squares = values.squares()
    ordinary = [s <= min(ORDINARY * max(c, 1), LARGEST) ** 2 for s in squares]

    def scales():
        norms = [ops.sqrt(s) for s in squares]
        return _scales(c, norms, [ops.ones_like(n) for n in norms])

    def roots():
        shrinking = SHRINKING[values.dtype]
        p = [
            ops.where(o, ops.ones_like(s), ops.full_like(s, shrinking))
            for o, s in zip(ordinary, squares)
        ]
        return _roots(c, values.norms(p), p)

    return ops.all(functools.reduce(ops.logical_and, ordinary)), scales, roots


def _two_factors(values, all_are, scales, roots):
    """For each gradient its scale and 1, or twice the root.

    What a branch returns takes XLA long to compile, and what is chosen outside of it is
    chosen in the update of each variable: only a single second factor is returned.
    """
    if values.together:
        one = [ops.ones((), values.dtype)]
        return backends.active.chosen(
            all_are, lambda: (scales(), one), lambda: (roots(),) * 2
        )
    factors = backends.active.chosen(all_are, scales, roots)
    return factors, [ops.where(all_are, 1.0, factor) for factor in factors]


def _scales(c: float, norms, p):
    """`c/max(‖g·p‖₂, c·p)`: what remains to multiply `g·p` by."""
    return [c / ops.maximum(n, c * p_k) for n, p_k in zip(norms, p)]


def _roots(c: float, norms, p):
    """The roots of the scales of `g`, which may be too small for the dtype."""
    return [ops.sqrt(p_k) * ops.sqrt(q_k) for p_k, q_k in zip(p, _scales(c, norms, p))]


@final
class _Values:
    """The values of gradients, with a norm of each, or one norm of all `together`.

    Norms, and what is made of them, are columns: see `Backend.column`.
    """

    def __init__(self, norms: Norms, together: bool):
        self._norms, self.together = norms, together
        self.arrays, self.dtype = norms.arrays, norms.dtype

    def norms(self, p):
        """`‖g·p‖₂`."""
        shrunk = [
            ops.cast(x, self.dtype) * p_k
            for x, p_k in zip(self.arrays, self.of_each(p))
        ]
        losses = list(map(backends.active.l2_loss, shrunk))
        return [ops.sqrt(s) for s in self._squares(losses)]

    def squares(self):
        """`‖g‖₂²`."""
        return self._squares(self._norms.losses)

    def _squares(self, losses):
        return [2 * loss for loss in self._column(losses, ops.sum)]

    def normalizers(self):
        """`1/max|g|`, as far as that is a normal number."""
        tiny = float(np.finfo(self.dtype).smallest_normal)
        sizes = [ops.max(ops.abs(x), initial=0.0) for x in self.arrays]
        return [1 / ops.clip(m, tiny, 1 / tiny) for m in self._column(sizes, ops.max)]

    def times(self, factors):
        """Each array times its factor."""
        return [
            ops.cast(ops.cast(x, self.dtype) * factor, x.dtype)
            for x, factor in zip(self.arrays, self.of_each(factors))
        ]

    def times_squared(self, roots):
        """Each array times the square of its root.

        Of two factors, TensorFlow would multiply the scalars first.
        """
        inverses = self.of_each([1 / root for root in roots])
        return [
            ops.cast(ops.cast(x, self.dtype) * root / inverse, x.dtype)
            for x, root, inverse in zip(self.arrays, self.of_each(roots), inverses)
        ]

    def of_each(self, column):
        """One scalar for each array."""
        if self.together:
            return column * len(self.arrays)
        return backends.active.scalars(column, len(self.arrays))

    def _column(self, scalars, reduced):
        scalars = [ops.cast(s, self.dtype) for s in scalars]
        if self.together:
            return [reduced(ops.stack(scalars))]
        return backends.active.column(scalars)
