"""PyTorch processes under `DistributedDataParallel` take the steps of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import processes
from tests.workers.cases import FITTED
from tests.workers.results import TOLERANCE, Results, distance, identical

pytestmark = [pytest.mark.needs("torch"), pytest.mark.xdist_group("workers")]
COUNT = 2


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(["everything"], id="one"),
        pytest.param([*FITTED], id="all", marks=pytest.mark.workers),
    ],
)
def test_processes_take_the_steps_of_one(cases: list[str], tmp_path: Path):
    [port] = processes.free_ports(1)
    program = ("tests.workers.programs.torch_processes", str(tmp_path))
    processes.run_peers(
        *((*program, str(k), str(COUNT), port, *cases) for k in range(COUNT)),
        logs=tmp_path / "logs",
    )
    results = Results(tmp_path, COUNT)
    distances = {}
    for case in cases:
        first, second = results.of(case, "processes")
        assert identical(first, second), case
        [alone] = results.of(case, "alone")
        distances[case] = distance(first, alone)
    assert {case: d for case, d in distances.items() if not d < TOLERANCE} == {}
