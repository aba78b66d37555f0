"""The path of `keras.optimizers`, where that is right: on the densified gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import SGD, Adam, Momentum
from tests import reference
from tests.recipes import EXACT

pytestmark = pytest.mark.needs("tensorflow")

SHAPE = (6, 3)


@st.composite
def runs(draw):
    """The table's values and, for each step, rows: repeated, unsorted, none or all."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    counts = draw(st.lists(st.sampled_from([0, 1, 4, 9]), min_size=1, max_size=6))
    return rng.normal(size=SHAPE).astype("float32"), [_rows(rng, n) for n in counts]


def _rows(rng, count):
    return rng.integers(0, SHAPE[0], count), rng.normal(size=(count, SHAPE[1]))


@pytest.mark.parametrize("recipe", EXACT, ids=str)
@given(run=runs())
def test_repeated_rows_take_the_built_ins_path_on_the_dense_gradient(recipe, run):
    values, steps = run
    ours, theirs = keras.Variable(values), keras.Variable(values)
    here, there = recipe.make(), recipe.make_keras()
    for indices, rows in steps:
        here.apply([_slices(indices, rows)], [ours])
        there.apply(
            [tf.constant(reference.densify(indices, rows, SHAPE), "float32")], [theirs]
        )
    # Keras computes 1 − β₂ᵗ as a difference, which has 5 digits at t = 1.
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=2e-4, atol=2e-4)


def _slices(indices, rows):
    return tf.IndexedSlices(
        tf.constant(rows, "float32"), tf.constant(indices, "int32"), SHAPE
    )


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
    rng = np.random.default_rng(0)
    indices = np.array([1, 1, 3])
    θ, θ_keras = keras.Variable(np.zeros(SHAPE)), keras.Variable(np.zeros(SHAPE))
    for _ in range(4):
        rows = rng.normal(size=(3, 3))
        ours.apply([_slices(indices, rows)], [θ])
        built_in.apply([_slices(indices, rows)], [θ_keras])
    assert np.abs(θ.numpy() - θ_keras.numpy()).max() > 0.01
