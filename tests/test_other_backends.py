"""What does not need TensorFlow is true on Keras's other backends, without it."""

import pytest

from tests.processes import run

pytestmark = pytest.mark.needs("tensorflow")

BACKENDS = ["numpy", "jax", pytest.param("torch", marks=pytest.mark.torch)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_dense_steps_on_another_backend_follow_the_equations(backend):
    """So are clips of every magnitude, what is promised of 16 bits, and three of state.

    That is, of a list of variables that changes, of a state that waits, and where Keras
    scales the loss.
    """
    run(("tests.programs.dense_steps", backend))
