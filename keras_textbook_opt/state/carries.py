"""What a variable of 16 bits has no bits for, beside it in float32."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_textbook_opt import backends


def exact(held: Any, carry: Any, dtype: str) -> Any:
    """`held + carry` where that is rounded to what a variable of `dtype` holds.

    Elsewhere it was assigned from outside: the carry counts no more, and `held` is all.
    """
    both = held + carry
    left = backends.active.rounded(both, dtype)
    return ops.where(ops.equal(left, held), both, held)


def parted(value: Any, dtype: str) -> tuple[Any, Any]:
    """What `dtype` can hold of a `value` of float32, and the rest, both in float32."""
    held = backends.active.rounded(value, dtype)
    nothing = ops.zeros((), "float32")
    return held, ops.where(ops.isfinite(held), value - held, nothing)
