"""The norms of gradients: computed once, for the clip and for whoever watches.

A clip by norm is content with squares that underflow, and has its own way where they
overflow. Who watches wants the norm of every finite gradient: where a square leaves the
range of the dtype, it is `‖g·p‖₂/p` with a `p` such that none does.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple, final

import numpy as np
from keras import ops

from keras_textbook_opt import backends
from keras_textbook_opt.gradients import structured
from keras_textbook_opt.variables import compute_dtype

# Between these, a sum of squares has lost nothing that counts at either end.
LEAST, MOST = 2.0**-60, 2.0**120


@final
class Norms:
    """Gradients, and what may be asked of them twice: nothing is computed before.

    Args:
        gradients: A list of gradients, or of `None` where there is none.
    """

    def __init__(self, gradients: list):
        self._given = gradients

    @cached_property
    def gradients(self) -> list:
        """Those that are there, each with every row once."""
        return [structured(g).merged() for g in self._given if g is not None]

    @cached_property
    def arrays(self) -> list:
        return [g.values for g in self.gradients]

    @cached_property
    def dtype(self) -> str:
        return max(map(compute_dtype, self.arrays))

    @cached_property
    def losses(self) -> list:
        """`Σg²/2` of each gradient, which leaves the range of float32 at `g = 2e19`."""
        return list(map(backends.active.l2_loss, self.arrays))

    @cached_property
    def known(self) -> Any:
        """`‖g‖₂` of each in float64; `None` where the backend has none."""
        return backends.active.norms(self.gradients)


class Measured(NamedTuple):
    """Norms of gradients of any magnitude.

    Args:
        each: `‖g‖₂` of each gradient, a vector.
        total: `‖(g, g′, …)‖₂`, a scalar.
        first: The place of the first gradient that is not finite, −1 if all are.
    """

    each: Any
    total: Any
    first: Any


def measured(norms: Norms, all_are_wanted: bool) -> Measured:
    """The norms; those of each are right to the last digits if all of them are wanted.

    If not, what underflows in the square of one is lost, as in the sum of all.
    """
    if norms.known is not None:
        each = norms.known
        total = backends.active.total_norm(each)
        return Measured(each, total, _first(ops.isfinite(each)))
    squares = 2 * ops.stack([ops.cast(loss, norms.dtype) for loss in norms.losses])
    total = ops.sum(squares)
    watched = squares if all_are_wanted else total
    fits = ops.all(ops.logical_and(watched >= LEAST, watched <= MOST))
    last = ops.cast(-1, "int32")
    return Measured(
        *ops.cond(
            fits,
            lambda: (ops.sqrt(squares), ops.sqrt(total), last),
            lambda: _normalized(norms),
        )
    )


def _normalized(norms: Norms) -> tuple:
    """The same for gradients of any magnitude, in another two passes over them."""
    arrays = [ops.cast(x, norms.dtype) for x in norms.arrays]
    sizes = [ops.max(ops.abs(x), initial=0.0) for x in arrays]
    p = [_normalizer(ops.cast(size, norms.dtype)) for size in sizes]
    losses = [backends.active.l2_loss(x * p_k) for x, p_k in zip(arrays, p)]
    of_normalized = ops.sqrt(2 * ops.stack(losses))
    each = of_normalized / ops.stack(p)
    return each, _total(each), _first(ops.isfinite(of_normalized))


def _total(each: Any) -> Any:
    """`‖(‖g‖₂, ‖g′‖₂, …)‖₂`."""
    p = _normalizer(ops.max(each))
    return ops.sqrt(ops.sum(ops.square(each * p))) / p


def _normalizer(largest: Any) -> Any:
    """`1/largest`, as far as that is a normal number."""
    tiny = float(np.finfo(compute_dtype(largest)).smallest_normal)
    return 1 / ops.clip(largest, tiny, 1 / tiny)


def _first(finite: Any) -> Any:
    """The place of the first `False`, −1 if there is none."""
    first = ops.cast(ops.argmin(ops.cast(finite, "int32")), "int32")
    return ops.where(ops.all(finite), ops.cast(-1, "int32"), first)
