"""Clips by norm of gradients of every magnitude, on every backend."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_textbook_opt import SGD
from tests import reference

SHAPES = [(3, 2), (4,)]
EVERY_C = [1.2e-38, 1e-30, 1e-7, 0.5, 1e6, 3e38]
POWERS = [-45, -38, -30, -25, -12, 0, 9, 12, 15, 19, 25, 36, 38]
SMALLEST_NORMAL = 1.2e-38


def pairs_of_powers() -> list[tuple[int, int]]:
    """All equal pairs, and each with every third other."""
    apart = [(a, b) for a in POWERS for b in POWERS[::3]]
    return [(a, a) for a in POWERS] + apart


def steps(optimizer, variables: list, compiled: bool):
    """A function from gradients to the variables after one step from zero."""
    optimizer.build(variables)
    zeros = [np.zeros(shape, "float32") for shape in SHAPES]
    if compiled:
        import jax

        state = [v.value for v in optimizer.variables]
        apply = jax.jit(lambda gs: optimizer.stateless_apply(state, gs, zeros)[0])
        return lambda gradients: [np.asarray(θ) for θ in apply(gradients)]

    def step(gradients):
        for variable, zero in zip(variables, zeros):
            variable.assign(zero)
        optimizer.apply(gradients, variables)
        return [ops.convert_to_numpy(v) for v in variables]

    return step


def check_clip(clip: str, c: float, compiled: bool) -> None:
    rng = np.random.default_rng(0)
    variables = [keras.Variable(np.zeros(shape)) for shape in SHAPES]
    clips: dict[str, Any] = {clip: c}
    step = steps(SGD(1.0, **clips), variables, compiled)
    for powers in pairs_of_powers() if compiled else pairs_of_powers()[::6]:
        gradients = [
            (rng.uniform(-3.4, 3.4, size=shape) * 10.0**power).astype("float32")
            for shape, power in zip(SHAPES, powers, strict=True)
        ]
        expected = [g.astype("float64") for g in gradients]
        if clip == "clipnorm":
            expected = [reference.clip_by_norm(g, c) for g in expected]
        else:
            expected = reference.clip_by_global_norm(expected, c)
        for θ, g in zip(step(gradients), expected, strict=True):
            np.testing.assert_allclose(
                θ, -g, 1e-5, SMALLEST_NORMAL, err_msg=f"{clip}={c}, {powers}"
            )


def check() -> None:
    """Eagerly, and compiled where a backend of Keras compiles a pure function."""
    with np.errstate(over="ignore"):
        for clip in ("clipnorm", "global_clipnorm"):
            for c in EVERY_C[::2]:
                check_clip(clip, c, compiled=False)
                if keras.backend.backend() == "jax":
                    check_clip(clip, c, compiled=True)
