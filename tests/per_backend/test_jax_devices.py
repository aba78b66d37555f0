"""On JAX, fits with averages follow each other; state is sharded as its variable.

Keras gives the buffers of a fit away to its steps: an average that has replaced a
variable must not share one with it.
"""

import pytest

from tests.processes import run

pytestmark = [pytest.mark.once, pytest.mark.long]


def test_averages_and_shards_on_jax():
    run(("tests.programs.jax_devices",))
