"""A step with a clip is the step on the gradient that was clipped by hand."""

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import SGD, Adam, Momentum
from tests import reference
from tests.backends import BACKEND, MODES, Sparse, in_modes, numbers
from tests.recipes import Recipe
from tests.trainer import trainer

SPECS = (((5, 2), "float32"), ((3, 2), "float32"), ((4,), "float32"))
TABLES = (0,)
CLIPS: dict[str, Any] = {
    "clipnorm": lambda gs, c: [reference.clip_by_norm(g, c) for g in gs],
    "global_clipnorm": reference.clip_by_global_norm,
    "clipvalue": lambda gs, c: [reference.clip_by_value(g, c) for g in gs],
}
C = 0.5
SMALLEST_NORMAL = 1.2e-38
ROWS = np.array([3, 0, 3, 1])
SIZES = st.integers(-18, 18).map(lambda exponent: 10.0**exponent)
of_each_mode = pytest.mark.parametrize("mode", MODES)
of_each_clip = pytest.mark.parametrize("clip", CLIPS)


@pytest.mark.parametrize(("c", "mode"), in_modes([1e-7, C, 1e6], slice(1, 2)))
@of_each_clip
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(SIZES | st.just(0.0), min_size=3, max_size=3)
    | SIZES.map(lambda size: [size] * 3),
)
def test_a_clipped_step_is_the_step_on_the_clipped_gradient(clip, c, mode, seed, sizes):
    """For norms up to 1e19, gradients of zero, and repeated rows."""
    rng = np.random.default_rng(seed)
    shapes = [(4, 2), *(shape for shape, _ in SPECS[1:])]
    gradients: list[Any] = [
        (rng.normal(size=shape) * size).astype("float32")
        for size, shape in zip(sizes, shapes, strict=True)
    ]
    gradients[0] = rows = Sparse(ROWS, gradients[0])
    subject = trainer(Recipe(SGD, {clip: c}), mode, SPECS, TABLES)
    subject.run([np.zeros(shape, dtype) for shape, dtype in SPECS], [gradients])
    gradients[0] = reference.densify(*rows, SPECS[0][0])
    expected = CLIPS[clip]([g.astype(np.float64) for g in gradients], c)
    for variable, g in zip(subject.variables, expected, strict=True):
        # The sum of a row that is there twice may cancel.
        atol = max(1e-7 * 0.1 * np.abs(g).max(), 2 * SMALLEST_NORMAL)
        np.testing.assert_allclose(numbers(variable), -0.1 * g, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
def test_the_step_is_zero_if_the_squares_overflow(clip):
    """As documented; PyTorch sums them in float64 and clips."""
    θ = keras.Variable([0.0, 0.0])
    settings: dict[str, Any] = {clip: C}
    SGD(1.0, **settings).apply([np.array([1e20, 0.0], "float32")], [θ])
    assert numbers(θ).tolist() == [-C if BACKEND == "torch" else 0.0, 0.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_clip_by_norm_does_not_hide_what_is_not_finite(bad):
    θ = keras.Variable([1.0, 2.0])
    SGD(0.1, clipnorm=C).apply([np.array([bad, 1.0])], [θ])
    assert np.isnan(numbers(θ)[0])


# Derivatives through a step, as in meta-learning.

ALL_CLIPS: list[dict[str, float]] = [
    {},
    *({clip: c} for clip in CLIPS for c in (C, 100.0)),
]


def loss_after(optimizer, mask=(1.0, 0.0)) -> tuple:
    """The loss after a step on `2·p·mask`, as a function of the variables `p`."""
    import jax.numpy as jnp

    θ = [keras.Variable(np.zeros(2, "float32")) for _ in range(2)]
    optimizer.build(θ)
    state = [v.value for v in optimizer.variables]

    def after(p):
        gradients = [2 * p[0], 2 * p[1] * jnp.array(mask)]
        new, _ = optimizer.stateless_apply(state, gradients, p)
        return sum(jnp.sum((x - 1.0) ** 2) for x in new)

    return after, [v.value for v in θ]


@pytest.mark.needs("jax")
@pytest.mark.parametrize("clip", ALL_CLIPS, ids=str)
@pytest.mark.parametrize("make", [SGD, Momentum])
def test_derivatives_through_a_step_are_right_at_zero_gradients(make, clip):
    """Where nothing is clipped, `θ` moves by `−0.1·2·p`."""
    import jax

    after, zeros = loss_after(make(0.1, **clip))
    expected = [[-1.6, -1.6], [-1.6, -2.0]]
    found = jax.grad(after)(zeros)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    _, change = jax.jvp(after, (zeros,), ([x + 1.0 for x in zeros],))
    np.testing.assert_allclose(change, np.sum(expected), rtol=1e-6)
    blocks = jax.tree.leaves(jax.hessian(after)(zeros))
    np.testing.assert_allclose(np.trace(blocks[0]), 2 * 2 * 0.8**2, rtol=1e-6)
    assert all(np.isfinite(block).all() for block in blocks)
    # `√v` of Adam has no derivative at 0, as in optax.
    after, _ = loss_after(Adam(0.1, **clip), mask=(1.0, 1.0))
    assert np.isfinite(jax.grad(after)([x + 0.5 for x in zeros])).all()
