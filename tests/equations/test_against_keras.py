"""The path of `keras.optimizers`, where that is right: on the densified gradient."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import SGD, Adam, Momentum
from tests import reference
from tests.backends import Sparse, few_on_jax, gradient, numbers
from tests.recipes import EXACT

SHAPE = (6, 3)


@st.composite
def runs(draw):
    """The table's values and, for each step, rows: repeated, unsorted, none or all."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    counts = draw(st.lists(st.sampled_from([0, 1, 4, 9]), min_size=1, max_size=6))
    return rng.normal(size=SHAPE).astype("float32"), [_rows(rng, n) for n in counts]


def _rows(rng, count):
    return rng.integers(0, SHAPE[0], count), rng.normal(size=(count, SHAPE[1]))


@pytest.mark.parametrize("recipe", few_on_jax(EXACT, slice(5, 6)), ids=str)
@given(run=runs())
def test_repeated_rows_take_the_built_ins_path_on_the_dense_gradient(recipe, run):
    values, steps = run
    ours, theirs = keras.Variable(values), keras.Variable(values)
    here, there = recipe.make(), recipe.make_keras()
    for indices, rows in steps:
        here.apply([_slices(indices, rows)], [ours])
        dense = reference.densify(indices, rows, SHAPE)
        there.apply([gradient(dense, SHAPE, "float32")], [theirs])
    # Keras computes 1 − β₂ᵗ as a difference, which has 5 digits at t = 1.
    np.testing.assert_allclose(numbers(ours), numbers(theirs), rtol=2e-4, atol=2e-4)


def _slices(indices, rows):
    return gradient(Sparse(indices, rows), SHAPE, "float32")


@pytest.mark.needs("rows")
@pytest.mark.parametrize(
    ("ours", "built_in"),
    [
        (Adam(0.1), keras.optimizers.Adam(0.1)),
        (SGD(0.1, clipnorm=1.0), keras.optimizers.SGD(0.1, clipnorm=1.0)),
        (Adam(0.1, clipvalue=0.5), keras.optimizers.Adam(0.1, clipvalue=0.5)),
        (Momentum(0.1, clipnorm=1.0), keras.optimizers.SGD(0.1, 0.9, clipnorm=1.0)),
    ],
)
def test_repeated_rows_mislead_the_built_ins(ours, built_in):
    """Why the test above densifies: fed the rows, the built-in goes another way."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    indices = np.array([1, 1, 3])
    θ, θ_keras = keras.Variable(np.zeros(SHAPE)), keras.Variable(np.zeros(SHAPE))
    for _ in range(4):
        rows = rng.normal(size=(3, 3))
        ours.apply([_slices(indices, rows)], [θ])
        slices = _slices(indices, rows)  # the built-in wants to know the shape
        built_in.apply([tf.IndexedSlices(slices.values, indices, SHAPE)], [θ_keras])
    assert np.abs(numbers(θ) - numbers(θ_keras)).max() > 0.01
