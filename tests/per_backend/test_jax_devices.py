"""On JAX, fits with averages can follow each other, and state is split as its variable.

Keras donates the buffers of a fit to its steps: an average that has replaced a variable
must not share its buffer.
"""

import pytest

from tests.processes import run

pytestmark = [pytest.mark.once, pytest.mark.long]


def test_averages_and_shards_on_jax():
    run(("tests.programs.jax_devices",))
