"""Kernels that compute an optimizer's equation in place, in one pass over memory.

The only folder where a backend's own kernels are named. A kernel and the equation that
carries its name, as `@fused.equation("adam")`, give the same numbers; a test says so.
"""

from __future__ import annotations

from collections.abc import Callable

import keras

if keras.backend.backend() == "tensorflow":
    from keras_textbook_opt.fused.tensorflow import KERNELS, applies
else:
    KERNELS = {}


def equation(name: str) -> Callable:
    """Say that the kernel `name` computes the decorated `apply_dense`."""

    def mark(apply_dense: Callable) -> Callable:
        apply_dense.kernel = name
        return apply_dense

    return mark


def kernel(optimizer, θ, slots) -> Callable | None:
    """The kernel that stands in for `apply_dense` on `θ`; `None` where there is none.

    A class that overrides `apply_dense` has another equation, and no kernel with it.
    """
    name = getattr(optimizer.apply_dense, "kernel", None)
    if name in KERNELS and applies(optimizer, θ, slots):
        return KERNELS[name]
    return None
