"""Kernels that compute an optimizer's equation in place, in one pass over memory.

The only folder where a backend's own kernels are named. A kernel and the equation that
carries its name, as `@fused.equation("adam")`, give the same numbers; a test says so.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
from keras import ops

backend: Any = None
if keras.backend.backend() == "tensorflow":
    from keras_textbook_opt.fused import tensorflow as backend

_names: dict[Callable[..., Any], str] = {}


def equation(name: str) -> Callable[..., Any]:
    """Say that the kernel `name` computes the decorated `apply_dense`."""

    def named(apply_dense: Callable[..., Any]) -> Callable[..., Any]:
        _names[apply_dense] = name
        return apply_dense

    return named


def kernel(optimizer: Any, θ: Any, slots: Any) -> Callable[..., None] | None:
    """The kernel that stands in for `apply_dense` on `θ`; `None` where there is none.

    A class that overrides `apply_dense` has another equation, and no kernel with it.
    """
    return _applicable("KERNELS", optimizer, θ, slots)


def row_kernel(optimizer: Any, θ: Any, slots: Any) -> Callable[..., None] | None:
    """The kernel that stands in for `apply_dense` on rows of `θ`, repeats included."""
    return _applicable("ROW_KERNELS", optimizer, θ, slots)


def _applicable(table: str, optimizer: Any, θ: Any, slots: Any) -> Any:
    name = _names.get(type(optimizer).apply_dense)
    if backend is None or not backend.applies(optimizer, θ, slots):
        return None
    return getattr(backend, table).get(name)


def compiles_branches() -> bool:
    """Whether what is traced here becomes one program, the branches with it."""
    if keras.backend.backend() == "jax":
        return True
    return backend is not None and backend.under_xla()


def column(scalars: list) -> list:
    """Scalars as a list of tensors that are quick to compute with, element by element.

    One vector serves all, but for JAX, which takes long to compile its assembly.
    """
    return scalars if keras.backend.backend() == "jax" else [ops.stack(scalars)]


def scalars(column: list, count: int) -> list:
    """The `count` scalars of a `column`."""
    if keras.backend.backend() == "jax":
        return column
    return ops.unstack(column[0], num=count)


def l2_loss(x: Any) -> Any:
    """`Σx²/2`, a scalar of the dtype of `x`."""
    return ops.sum(ops.square(x)) / 2 if backend is None else backend.l2_loss(x)


def rounded(x: Any, dtype: str) -> Any:
    """`x`, of float32, as the narrower `dtype` holds it, again in float32."""
    if backend is None:
        return ops.cast(ops.cast(x, dtype), "float32")
    return backend.rounded(x, dtype)


def outside_the_graph() -> AbstractContextManager[Any]:
    """Where an operation happens now, also while a graph is traced."""
    return nullcontext() if backend is None else backend.outside_the_graph()


def outside_the_step(optimizer: Any) -> AbstractContextManager[Any]:
    """The same, on all replicas of `optimizer`, also within the step of one of them."""
    return nullcontext() if backend is None else backend.outside_the_step(optimizer)


def tracked(optimizer: Any, name: str, variables: list) -> list:
    """`variables` as a checkpoint of `optimizer` will find them under `name`."""
    return variables if backend is None else backend.tracked(optimizer, name, variables)


def in_a_checkpoint(write: Callable[[], str], read: Callable[[str], None]) -> Any:
    """A text that TensorFlow's checkpoints save and restore; `None` elsewhere."""
    return None if backend is None else backend.Text(write, read)
