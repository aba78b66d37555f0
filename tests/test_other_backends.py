"""The formulas are true on Keras's other backends, where TensorFlow is not imported."""

import pytest

from tests.processes import run


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_dense_steps_on_another_backend_follow_the_equations(backend):
    run(("tests.programs.dense_steps", backend))
