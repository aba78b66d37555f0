"""The state of a PyTorch `DTensor` is split as it is, and a step is the same.

On a mesh of two processes, and of one, where a `DTensor` mixes with no other tensor
either.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import processes
from tests.workers.cases import SPLIT
from tests.workers.results import TOLERANCE, Results, distance, identical

pytestmark = [pytest.mark.needs("torch"), pytest.mark.xdist_group("workers")]


@pytest.mark.parametrize(
    "count",
    [
        1,
        pytest.param(2, marks=pytest.mark.workers),
    ],
)
def test_split_variables_take_the_steps_of_whole_ones(count: int, tmp_path: Path):
    [port] = processes.free_ports(1)
    program = ("tests.workers.programs.torch_shards", str(tmp_path))
    processes.run_peers(
        *((*program, str(k), str(count), port) for k in range(count)),
        logs=tmp_path / "logs",
    )
    results = Results(tmp_path, count)
    for case in SPLIT:
        [alone, *_], ends = results.of(case, "alone"), results.of(case, "split")
        assert all(identical(ends[0], end) for end in ends), case
        assert distance(ends[0], alone) < TOLERANCE, case
