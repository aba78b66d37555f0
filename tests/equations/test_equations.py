"""Every optimizer takes the step of its equation: `reference.py`, in float64."""

import numpy as np
import pytest
from hypothesis import given
from keras import ops

from keras_textbook_opt import Adam
from tests import reference
from tests.backends import BACKEND, in_modes, numbers
from tests.recipes import EXACT
from tests.trainer import assert_steps_follow, runs

# JAX has float64 on request; Keras computes in float32 with NumPy.
WIDE = "float64" if BACKEND in ("tensorflow", "torch") else "float32"
SPECS = (
    ((), "float32"),
    ((5,), WIDE),
    ((0,), "float32"),
    ((3, 4), "float32"),
    ((2, 3, 2), WIDE),
)


# Quick: each optimizer once, Momentum with `nesterov`, and AMSGrad.
@pytest.mark.parametrize(("recipe", "mode"), in_modes(EXACT, slice(1, None, 4)))
@given(run=runs(SPECS))
def test_dense_steps_follow_the_equation(recipe, mode, run):
    assert_steps_follow(recipe, mode, run, SPECS)


def test_step_size_of_adam_is_right_to_the_last_digits():
    """`1 − β₂ᵗ` is small in the first steps: a difference has 5 digits of it."""
    for β_1, β_2 in [(0.9, 0.999), (0.0, 0.5), (0.99, 0.999999)]:
        held = {"β_1": float(np.float32(β_1)), "β_2": float(np.float32(β_2))}
        optimizer = Adam(beta_1=β_1, beta_2=β_2)
        for t in (1, 2, 10, 1000, 10**6):
            size = optimizer.step_size(*(ops.cast(x, "float32") for x in (0.5, t)))
            expected = reference.adam_step_size(t, η=0.5, **held)
            np.testing.assert_allclose(numbers(size), expected, rtol=1e-6)
