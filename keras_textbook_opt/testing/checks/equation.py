"""The equation: what only someone who knows it can say is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_textbook_opt.testing import problem
from keras_textbook_opt.testing.comparing import assert_meet
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckSkipped


@promise
def check_follows_the_reference(
    subject: Subject, reference: Callable | None = None
) -> None:
    """The steps are those of the equation, which the caller gives in NumPy.

    Why: Swapped betas, or an ε inside the root, keep every other promise: no comparison
    of an optimizer with itself can see them.

    Mend: Compare `update_step` with the equation line by line, and look at where the
    step number starts (Keras's `iterations` is 0 in the first step, most papers' t is
    1).
    """
    if reference is None:
        raise CheckSkipped(
            "waits for the equation: check_optimizer(…, reference=f) with "
            "f(t, η, θ, g, *slots) → θ, *slots in NumPy"
        )
    steps = problem.gradients()
    start = problem.values()
    states: list[list] = [[θ.astype("float64")] for θ in start]
    η = float(np.float32(subject.rate))
    for t, gradients in enumerate(steps, start=1):
        states = [
            _as_list(reference(t, η, θ, g.astype("float64"), *slots))
            for (θ, *slots), g in zip(states, gradients)
        ]
    assert_meet(
        subject.after(steps),
        [θ for θ, *_ in states],
        start,
        "the optimizer and the equation in float64 NumPy",
        steps=len(steps),
        noise=subject.noise,
    )


def _as_list(new: Any) -> list:
    return list(new) if isinstance(new, tuple) else [new]
