"""Workers and parameter servers of TensorFlow take the steps of one process.

Fresh processes train each set of cases, under one strategy each: TensorFlow cannot make
a second one in a process.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import processes
from tests.workers.cases import CASES, SETS
from tests.workers.results import TOLERANCE, Results, identical

pytestmark = [pytest.mark.needs("tensorflow"), pytest.mark.xdist_group("workers")]
PROGRAM = "tests.workers.programs.tensorflow_workers"
Trained = tuple[dict, Results]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("few", 2), id="few-2", marks=pytest.mark.long),
        pytest.param(("all", 2), id="all-2", marks=pytest.mark.workers),
        pytest.param(("all", 3), id="all-3", marks=pytest.mark.workers),
    ],
)
def trained(request, tmp_path_factory) -> Trained:
    name, count = request.param
    folder = tmp_path_factory.mktemp("workers")
    ports = processes.free_ports(count)
    program = (PROGRAM, "workers", str(folder), name)
    processes.run_peers(
        *((*program, str(k), *ports) for k in range(count)), logs=folder / "logs"
    )
    return SETS[name], Results(folder, count)


def test_workers_take_the_steps_of_one_process(trained: Trained):
    cases, results = trained
    distances = {case: results.distance(case, "workers") for case in cases}
    assert {case: d for case, d in distances.items() if not d < TOLERANCE} == {}


def test_workers_hold_the_same_variables(trained: Trained):
    cases, results = trained
    for case in cases:
        first, *others = results.of(case, "workers")
        assert others
        assert all(identical(first, other) for other in others), case


@pytest.mark.workers
def test_consecutive_steps_on_parameter_servers_are_those_of_one_process(
    tmp_path: Path,
):
    """To the bit: one worker takes each step on a whole batch."""
    program = (PROGRAM, "servers", str(tmp_path), "all")
    processes.run_peers(program, logs=tmp_path / "logs")
    results = Results(tmp_path, 1)
    for case in CASES:
        [servers], [alone] = results.of(case, "servers"), results.of(case, "alone")
        assert identical(servers, alone), case
