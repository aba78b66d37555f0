"""A clip takes the norm of the whole gradient, of any magnitude."""

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keras_textbook_opt import SGD
from tests import reference
from tests.backends import MODES, Sparse, in_modes, numbers
from tests.recipes import Recipe
from tests.trainer import trainer

SPECS = (((5, 2), "float32"), ((3, 2), "float32"), ((4,), "float32"))
TABLES = (0,)
CLIPS = {
    "clipnorm": lambda gs, c: [reference.clip_by_norm(g, c) for g in gs],
    "global_clipnorm": reference.clip_by_global_norm,
    "clipvalue": lambda gs, c: [reference.clip_by_value(g, c) for g in gs],
}
C = 0.5
# From the smallest normal number of float32 to nearly the largest.
EVERY_C = [1.2e-38, 1e-30, 1e-7, C, 1e6, 3e38]
SMALLEST_NORMAL = 1.2e-38
of_each_mode = pytest.mark.parametrize("mode", MODES)
of_each_clip = pytest.mark.parametrize("clip", CLIPS)


def magnitudes(count: int, highest: int):
    """Powers of ten: far apart, or close to each other."""
    any_power = st.integers(-45, highest)
    near = st.tuples(any_power, st.lists(st.integers(-2, 2), min_size=3, max_size=3))
    apart = st.lists(any_power, min_size=count, max_size=count)
    return apart | near.map(lambda x: [min(x[0] + d, highest) for d in x[1]])


@pytest.mark.parametrize(("c", "mode"), in_modes(EVERY_C, slice(1, None, 4)))
@of_each_clip
@given(seed=st.integers(0, 2**32), exponents=magnitudes(3, 38))
def test_gradients_of_any_magnitude_are_clipped_to_the_same_length(
    clip, c, mode, seed, exponents
):
    """Also where `g²` overflows float32 (`|g| > 2e19`) or underflows, or the scale."""
    rng = np.random.default_rng(seed)
    indices = np.array([3, 0, 3, 1])
    shapes = [(4, 2), *(shape for shape, _ in SPECS[1:])]
    gradients = [
        (rng.uniform(0.1, 3.4, size=shape) * 10.0**exponent).astype("float32")
        for exponent, shape in zip(exponents, shapes, strict=True)
    ]
    gradients[0] /= 2  # a row is there twice, and its sum is to be finite
    signs = [np.array([1, -1], np.float32)] + [
        rng.choice([-1, 1], size=s) for s in shapes[1:]
    ]
    gradients = [g * sign.astype("float32") for g, sign in zip(gradients, signs)]
    table = Sparse(indices, gradients[0])
    subject = trainer(Recipe(SGD, {clip: c}), mode, SPECS, TABLES)
    values = [np.zeros(shape, dtype) for shape, dtype in SPECS]
    subject.run(values, [[table, *gradients[1:]]])
    gradients[0] = reference.densify(indices, gradients[0], SPECS[0][0])
    expected = CLIPS[clip]([g.astype(np.float64) for g in gradients], c)
    # Each of a row's repeats may be too small a step.
    flushed = [len(indices) - len(set(indices)) + 1, 1, 1]
    for variable, g, n in zip(subject.variables, expected, flushed, strict=True):
        np.testing.assert_allclose(
            numbers(variable), -0.1 * g, rtol=1e-5, atol=n * SMALLEST_NORMAL
        )


@pytest.mark.needs("float64")
@of_each_mode
@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
@example(seed=0, exponents=[160, 0, 160])
@given(seed=st.integers(0, 2**32), exponents=magnitudes(3, 306))
def test_gradients_of_float64_may_be_larger_still(clip, mode, seed, exponents):
    rng = np.random.default_rng(seed)
    specs = (((3,), "float64"), ((2,), "float32"), ((2, 2), "float64"))
    exponents[1] = min(exponents[1], 37)
    gradients = [
        (rng.normal(size=shape) * 10.0**exponent).astype(dtype)
        for exponent, (shape, dtype) in zip(exponents, specs, strict=True)
    ]
    subject = trainer(Recipe(SGD, {clip: C}), mode, specs)
    subject.run([np.zeros(shape) for shape, _ in specs], [gradients])
    norms: list[Any] = [
        np.linalg.norm(g.astype(np.longdouble).ravel()) for g in gradients
    ]
    if clip == "global_clipnorm":
        norms = [np.linalg.norm(np.array(norms))] * 3
    for variable, g, norm in zip(subject.variables, gradients, norms, strict=True):
        expected = -0.1 * (g * (C / max(norm, C))).astype("float64")
        np.testing.assert_allclose(
            numbers(variable), expected, rtol=1e-5, atol=SMALLEST_NORMAL
        )


@pytest.mark.needs("graphs")
def test_one_branch_serves_a_whole_step():
    """In a graph; and an ordinary gradient passes it as it is."""
    import tensorflow as tf

    variables = [keras.Variable(np.ones(7, "float32")) for _ in range(5)]
    for optimizer in (SGD(0.1, clipnorm=C), SGD(0.1, global_clipnorm=C)):
        optimizer.build(variables)
        step = tf.function(lambda gs: optimizer.apply(gs, variables))  # noqa: B023
        graph = step.get_concrete_function([tf.TensorSpec([7])] * 5).graph
        branches = [op for op in graph.get_operations() if op.type.endswith("If")]
        assert len(branches) == 1
        outside = {
            op.type
            for op in graph.get_operations()
            for x in op.outputs
            if x.shape == [7]
        }
        assert outside <= {"Placeholder", branches[0].type, "Identity"}


@of_each_mode
@of_each_clip
def test_a_zero_gradient_stays_zero(clip, mode):
    subject = trainer(Recipe(SGD, {clip: C}), mode, SPECS, TABLES)
    values = [np.ones(shape, dtype) for shape, dtype in SPECS]
    rows = Sparse(np.array([3, 0, 3, 1]), np.zeros((4, 2)))
    subject.run(values, [[rows, *(0 * v for v in values[1:])]])
    for variable, value in zip(subject.variables, values, strict=True):
        np.testing.assert_array_equal(numbers(variable), value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_does_not_pass_for_a_step(bad):
    """A clip must not turn a broken gradient into a small, healthy-looking one."""
    θ = keras.Variable([1.0, 2.0])
    SGD(0.1, clipnorm=C).apply([np.array([bad, 1.0])], [θ])
    assert np.isnan(numbers(θ)[0])


@of_each_clip
def test_called_on_their_own_the_clips_return_arrays_in_the_form_they_got(clip):
    g, zero = np.array([3.0, 4.0], "float32"), np.array([0.0], "float32")
    clips: dict[str, Any] = {clip: C}
    clipped = SGD(0.1, **clips)._clip_gradients([g, None, zero])
    assert clipped[1] is None
    expected = CLIPS[clip]([g.astype(np.float64), np.zeros(1)], C)
    np.testing.assert_allclose(numbers(clipped[0]), expected[0], rtol=1e-6)
    np.testing.assert_array_equal(numbers(clipped[2]), zero)
