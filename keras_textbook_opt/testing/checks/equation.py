"""The equation, which the caller gives in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_textbook_opt.testing import problem
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckSkipped


@promise
def check_reference(subject: Subject, reference: Callable | None = None) -> None:
    """The steps are those of the equation, also on gradients a thousand times smaller.

    Why: Swapped betas, or an ε inside the root, pass every other check: no comparison
    of an optimizer with itself can find them.

    Fix: Compare `update_step` with the equation line by line, and check where the step
    number starts (Keras's `iterations` is 0 in the first step, t of most papers is 1).
    """
    if reference is None:
        raise CheckSkipped(
            "no equation given: check_optimizer(..., reference=f) with "
            "f(t, η, θ, g, *slots) → θ, *slots in NumPy"
        )
    for factor in (1.0, 1e-3):
        steps = problem.scaled(subject.steps, factor)
        expected = _by_reference(reference, subject.rate, steps)
        what = f"the optimizer vs. the equation in NumPy (gradients × {factor})"
        subject.assert_close(subject.after(steps), expected, what)


def _by_reference(reference: Callable, rate: float, steps: list) -> list[np.ndarray]:
    """The variables after these steps of the equation, in float64."""
    states: list[list] = [[θ.astype("float64")] for θ in problem.values()]
    η = float(np.float32(rate))
    for t, gradients in enumerate(steps, start=1):
        states = [
            _as_list(reference(t, η, θ, g.astype("float64"), *slots))
            for (θ, *slots), g in zip(states, gradients)
        ]
    return [θ for θ, *_ in states]


def _as_list(new: Any) -> list:
    return list(new) if isinstance(new, tuple) else [new]
