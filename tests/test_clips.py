"""A clip takes the norm of the whole gradient, of any magnitude."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import SGD, reference
from tests.recipes import MODES, Recipe
from tests.trainer import trainer

SPECS = (((3, 2), "float32"), ((4,), "float32"))
CLIPS = {
    "clipnorm": lambda gs, c: [reference.clip_by_norm(g, c) for g in gs],
    "global_clipnorm": reference.clip_by_global_norm,
    "clipvalue": lambda gs, c: [reference.clip_by_value(g, c) for g in gs],
}
C = 0.5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("clip", CLIPS)
@given(
    seed=st.integers(0, 2**32),
    exponents=st.lists(st.integers(-30, 36), min_size=2, max_size=2),
)
def test_gradients_of_any_magnitude_are_clipped_to_the_same_length(
    clip, mode, seed, exponents
):
    """Also where `g²` overflows float32 (`|g| > 2e19`) or underflows."""
    rng = np.random.default_rng(seed)
    gradients = [
        (rng.normal(size=shape) * 10.0**exponent).astype(dtype)
        for exponent, (shape, dtype) in zip(exponents, SPECS, strict=True)
    ]
    subject = trainer(Recipe(SGD, {clip: C}), mode, SPECS)
    subject.run([np.zeros(shape, dtype) for shape, dtype in SPECS], [gradients])
    expected = CLIPS[clip]([g.astype(np.float64) for g in gradients], C)
    for variable, g in zip(subject.variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), -0.1 * g, rtol=1e-5, atol=1e-38)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("clip", CLIPS)
def test_a_zero_gradient_stays_zero(clip, mode):
    subject = trainer(Recipe(SGD, {clip: C}), mode, SPECS)
    values = [np.ones(shape, dtype) for shape, dtype in SPECS]
    subject.run(values, [[0 * v for v in values]])
    for variable, value in zip(subject.variables, values, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_does_not_pass_for_a_step(bad):
    """A clip must not turn a broken gradient into a small, healthy-looking one."""
    θ = keras.Variable([1.0, 2.0])
    SGD(0.1, clipnorm=C).apply([np.array([bad, 1.0])], [θ])
    assert np.isnan(θ.numpy()[0])


@pytest.mark.parametrize("clip", CLIPS)
def test_called_on_their_own_the_clips_return_arrays_in_the_form_they_got(clip):
    g, zero = np.array([3.0, 4.0], "float32"), np.array([0.0], "float32")
    clipped = SGD(0.1, **{clip: C})._clip_gradients([g, None, zero])
    assert clipped[1] is None
    expected = CLIPS[clip]([g.astype(np.float64), np.zeros(1)], C)
    np.testing.assert_allclose(clipped[0], expected[0], rtol=1e-6)
    np.testing.assert_array_equal(clipped[2], zero)
