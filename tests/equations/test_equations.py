"""Every optimizer takes the step of its equation: `reference.py`, in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_textbook_opt import Adam
from tests import reference
from tests.backends import BACKEND, in_modes, numbers
from tests.oracle import Oracle
from tests.recipes import EXACT
from tests.trainer import assert_follows, trainer

# JAX has float64 on request; Keras computes in float32 with NumPy.
WIDE = "float64" if BACKEND in ("tensorflow", "torch") else "float32"
SPECS = (
    ((), "float32"),
    ((5,), WIDE),
    ((0,), "float32"),
    ((3, 4), "float32"),
    ((2, 3, 2), WIDE),
)
FACTORS = (0.25, 2.0, 1.0, 0.3, 0.0)


@st.composite
def dense_runs(draw):
    """Values of all variables and, for each of some steps, a gradient of each."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = [rng.normal(size=shape).astype(dtype) for shape, dtype in SPECS]
    scales = st.sampled_from([0.0, 1e-6, 1e-3, 1.0, 1e3, 1e6])
    scales = draw(st.lists(scales, min_size=1, max_size=4))
    return values, [
        [_gradient(rng, scale, *spec) for spec in SPECS] for scale in scales
    ]


def _gradient(rng, scale, shape, dtype):
    present = rng.random(shape) < 0.7
    return (rng.normal(size=shape) * scale * present).astype(dtype)


# Quick: each optimizer once, Momentum with `nesterov`, and AMSGrad.
@pytest.mark.parametrize("factors", [(), FACTORS], ids=["", "multiplied"])
@pytest.mark.parametrize(("recipe", "mode"), in_modes(EXACT, slice(1, None, 4)))
@given(run=dense_runs())
def test_dense_steps_follow_the_equation(recipe, mode, factors, run):
    values, gradients = run
    oracle = Oracle(recipe, values, factors=factors)
    subject = trainer(recipe, mode, SPECS, factors=factors)
    for step in gradients:
        oracle.step(step)
    subject.run(values, gradients)
    assert_follows(subject, oracle)


def test_step_size_of_adam_is_right_to_the_last_digits():
    """`1 − β₂ᵗ` is small in the first steps: a difference has 5 digits of it."""
    for β_1, β_2 in [(0.9, 0.999), (0.0, 0.5), (0.99, 0.999999)]:
        held = {"β_1": float(np.float32(β_1)), "β_2": float(np.float32(β_2))}
        optimizer = Adam(beta_1=β_1, beta_2=β_2)
        for t in (1, 2, 10, 1000, 10**6):
            size = optimizer.step_size(*(ops.cast(x, "float32") for x in (0.5, t)))
            expected = reference.adam_step_size(t, η=0.5, **held)
            np.testing.assert_allclose(numbers(size), expected, rtol=1e-6)
