"""With `ParameterServerStrategy`, steps that follow each other are one process's.

To the bit: each is taken by one worker on a whole batch, and the variables are
elsewhere.
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
def test_scheduled_steps_are_those_of_one_process(results: Results, case: str):
    [servers], [alone] = results.of(case, "servers"), results.of(case, "alone")
    assert identical(servers, alone)
