"""With `ParameterServerStrategy`, consecutive steps equal those of one process.

To the bit: one worker takes each step on a whole batch; variables are on servers.
"""

from __future__ import annotations

import pytest

from tests import processes
from tests.workers.cases import CASES
from tests.workers.results import Results, identical

pytestmark = [
    pytest.mark.needs("tensorflow"),
    pytest.mark.workers,
    pytest.mark.xdist_group("workers"),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    folder = tmp_path_factory.mktemp("servers")
    processes.run_peers(
        ("tests.workers.programs.tensorflow_servers", str(folder)), logs=folder / "logs"
    )
    return Results(folder, 1)


@pytest.mark.parametrize("case", CASES)
def test_scheduled_steps_equal_those_of_one_process(results: Results, case: str):
    [servers], [alone] = results.of(case, "servers"), results.of(case, "alone")
    assert identical(servers, alone)
