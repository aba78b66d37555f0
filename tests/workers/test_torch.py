"""PyTorch processes take the steps of one: under DDP, and with split variables.

`DTensor`s are on a mesh of two processes, and of one, where they mix with no other
tensor either.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import processes
from tests.workers.cases import FITTED, SPLIT
from tests.workers.results import TOLERANCE, Results, identical

pytestmark = [pytest.mark.needs("torch"), pytest.mark.xdist_group("workers")]
in_make_workers = pytest.mark.workers


@pytest.mark.parametrize(
    ("way", "count", "cases"),
    [
        pytest.param("parallel", 2, ["everything"], id="parallel"),
        pytest.param("split", 1, [*SPLIT], id="split"),
        pytest.param("parallel", 2, [*FITTED], id="all", marks=in_make_workers),
        pytest.param("split", 2, [*SPLIT], id="split-2", marks=in_make_workers),
    ],
)
def test_processes_take_the_steps_of_one(way, count, cases, tmp_path: Path):
    [port] = processes.free_ports(1)
    program = ("tests.workers.programs.torch_processes", way, str(tmp_path))
    processes.run_peers(
        *((*program, str(k), str(count), port, *cases) for k in range(count)),
        logs=tmp_path / "logs",
    )
    results = Results(tmp_path, count)
    distances = {}
    for case in cases:
        ends = results.of(case, way)
        assert len(ends) == count and all(identical(ends[0], e) for e in ends), case
        distances[case] = results.distance(case, way)
    assert {case: d for case, d in distances.items() if not d < TOLERANCE} == {}
