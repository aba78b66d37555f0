"""Steps equal those of `keras.optimizers` on the densified gradient, which is right."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
def test_steps_on_repeated_rows_equal_the_built_ins_on_the_dense_gradient(recipe, run):
    values, steps = run
    ours, theirs = keras.Variable(values), keras.Variable(values)
    here, there = recipe.make(), recipe.make_keras()
    for indices, rows in steps:
        here.apply([gradient(Sparse(indices, rows), SHAPE, "float32")], [ours])
        dense = reference.densify(indices, rows, SHAPE)
        there.apply([gradient(dense, SHAPE, "float32")], [theirs])
    # Keras computes 1 − β₂ᵗ as a difference, which has 5 digits at t = 1.
    np.testing.assert_allclose(numbers(ours), numbers(theirs), rtol=2e-4, atol=2e-4)
