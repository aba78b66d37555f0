"""On JAX, the state of a variable is split over devices as the variable is."""

import pytest

from tests.processes import run

pytestmark = [pytest.mark.once, pytest.mark.long]


def test_state_is_sharded_with_its_variable():
    run(("tests.programs.jax_devices",))
