"""PyTorch processes under DDP take the steps of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import processes
from tests.workers.cases import FITTED
from tests.workers.results import TOLERANCE, Results, identical

pytestmark = [pytest.mark.needs("torch"), pytest.mark.xdist_group("workers")]


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(["everything"], id="everything"),
        pytest.param([*FITTED], id="all", marks=pytest.mark.workers),
    ],
)
def test_processes_take_the_steps_of_one(cases, tmp_path: Path):
    [port] = processes.free_ports(1)
    program = ("tests.workers.programs.torch_processes", str(tmp_path))
    processes.run_peers(
        *((*program, str(k), "2", port, *cases) for k in range(2)),
        logs=tmp_path / "logs",
    )
    results = Results(tmp_path, 2)
    distances = {}
    for case in cases:
        first, second = results.of(case, "parallel")
        assert identical(first, second), case
        distances[case] = results.distance(case, "parallel")
    assert {case: d for case, d in distances.items() if not d < TOLERANCE} == {}
