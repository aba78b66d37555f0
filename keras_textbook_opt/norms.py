"""The norms of gradients: computed once, for the clip and for whoever watches.

A clip by norm is content with squares that underflow, and has its own way where they
overflow. Who watches wants the norm of every finite gradient: where a sum of squares
leaves the range of the dtype, it is `‖g·p‖₂/p` with a power of two such that none does.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple, final

import numpy as np
from keras import ops

from keras_textbook_opt import backends
from keras_textbook_opt.gradients import structured
from keras_textbook_opt.variables import compute_dtype

# Between these, a sum of squares has lost nothing that counts at either end.
LEAST, MOST = 2.0**-60, 2.0**120
# What gradients are multiplied by: as they are, those too small, those too large.
POWERS = {
    "float32": (1.0, 2.0**80, 2.0**-80),
    "float64": (1.0, 2.0**530, 2.0**-530),
}


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

    @cached_property
    def known_total(self) -> Any:
        """`‖(g, g′, …)‖₂` in float64, where there are `known` ones."""
        return backends.active.total_norm(self.known)


class Measured(NamedTuple):
    """Norms of gradients of any magnitude.

    Args:
        each: `‖g‖₂` of each gradient: a column, see `Backend.column`.
        total: `‖(g, g′, …)‖₂`, a scalar.
        first: The place of the first gradient that is not finite, −1 if all are.
    """

    each: list
    total: Any
    first: Any


def measured(norms: Norms) -> Measured:
    """The norms; of one gradient, what underflows in its square is lost.

    So it is in the sum of all, where it does not count.
    """
    if norms.known is not None:
        return _known(norms)
    squares = backends.active.column(_squares(norms.losses, norms.dtype))
    sum_of_all = sum(map(ops.sum, squares))
    total, first = backends.active.chosen(
        ops.logical_and(sum_of_all >= LEAST, sum_of_all <= MOST),
        lambda: (ops.sqrt(sum_of_all), ops.cast(-1, "int32")),
        lambda: _total_of_any_size(norms, sum_of_all),
    )
    return Measured([ops.sqrt(s) for s in squares], total, first)


def measured_each(norms: Norms) -> Measured:
    """The norms, each right to the last digits."""
    if norms.known is not None:
        return _known(norms)
    scalars = _squares(norms.losses, norms.dtype)
    squares = ops.stack(scalars)
    sum_of_all = ops.sum(squares)
    each, total, first = backends.active.chosen(
        ops.logical_and(ops.all(squares >= LEAST), sum_of_all <= MOST),
        lambda: (ops.sqrt(squares), ops.sqrt(sum_of_all), ops.cast(-1, "int32")),
        lambda: _each_of_any_size(norms, scalars),
    )
    return Measured([each], total, first)


def _known(norms: Norms) -> Measured:
    return Measured([norms.known], norms.known_total, _first(norms.known))


def _total_of_any_size(norms: Norms, sum_of_all: Any) -> tuple:
    """`‖(g·p, g′·p, …)‖₂/p`, in another pass over the gradients."""
    _, grow, shrink = _powers(norms.dtype)
    p = ops.where(sum_of_all < LEAST, grow, shrink)
    squares = ops.stack(_squares_times(norms, [p] * len(norms.arrays)))
    return ops.sqrt(ops.sum(squares)) / p, ops.cast(_first(squares), "int32")


def _each_of_any_size(norms: Norms, squares: list) -> tuple:
    """The same with a `p` for each."""
    one, grow, shrink = _powers(norms.dtype)
    p = [ops.where(s <= MOST, ops.where(s < LEAST, grow, one), shrink) for s in squares]
    of_scaled = ops.sqrt(ops.stack(_squares_times(norms, p)))
    each = of_scaled / ops.stack(p)
    return each, _total(each), ops.cast(_first(of_scaled), "int32")


def _powers(dtype: str) -> list:
    return [ops.convert_to_tensor(p, dtype) for p in POWERS[dtype]]


def _squares_times(norms: Norms, scales: list) -> list:
    """`‖g·p‖₂²` of each."""
    arrays = [ops.cast(x, norms.dtype) * p for x, p in zip(norms.arrays, scales)]
    return _squares(map(backends.active.l2_loss, arrays), norms.dtype)


def _squares(losses: Iterable, dtype: str) -> list:
    return [2 * ops.cast(loss, dtype) for loss in losses]


def _total(each: Any) -> Any:
    """`‖(‖g‖₂, ‖g′‖₂, …)‖₂`."""
    largest = ops.max(each)
    tiny = float(np.finfo(compute_dtype(largest)).smallest_normal)
    p = 1 / ops.clip(largest, tiny, 1 / tiny)
    return ops.sqrt(ops.sum(ops.square(each * p))) / p


def namespace(x: Any) -> Any:
    """NumPy for an array of NumPy, which is known now; `keras.ops` for a tensor."""
    return np if isinstance(x, (np.ndarray, np.generic)) else ops


def _first(each: Any) -> Any:
    """The place of the first that is not finite, −1 if all are."""
    of = namespace(each)
    finite = of.isfinite(each)
    return of.where(of.all(finite), -1, of.argmin(of.where(finite, 1, 0)))
