"""Workers of `MultiWorkerMirroredStrategy` take the steps of one process.

Each set of cases is trained by fresh processes, under one strategy each: TensorFlow can
make no second one in a process.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tests import processes
from tests.workers.cases import CASES, FEW, IDS, share
from tests.workers.results import TOLERANCE, Results, distance, identical

pytestmark = [pytest.mark.needs("tensorflow"), pytest.mark.xdist_group("workers")]


@dataclass(frozen=True)
class Trained:
    """Cases, and what each worker has of them."""

    cases: list[str]
    results: Results

    def distance(self, case: str) -> float:
        """How far the first worker ended from one process."""
        [alone] = self.results.of(case, "alone")
        return distance(self.results.of(case, "workers")[0], alone)


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
    program = ("tests.workers.programs.tensorflow_workers", str(folder), name)
    processes.run_peers(
        *((*program, str(k), *ports) for k in range(count)), logs=folder / "logs"
    )
    return Trained(FEW if name == "few" else [*CASES], Results(folder, count))


def test_workers_take_the_steps_of_one_process(trained: Trained):
    distances = {case: trained.distance(case) for case in trained.cases}
    assert {case: d for case, d in distances.items() if not d < TOLERANCE} == {}


def test_workers_hold_the_same_variables(trained: Trained):
    for case in trained.cases:
        first, *others = trained.results.of(case, "workers")
        assert others
        assert all(identical(first, other) for other in others), case


def test_a_clip_before_the_sum_is_seen(trained: Trained):
    """Keras's own optimizer clips each worker's gradient: the cases can tell."""
    assert trained.distance("built-in") > 1e-2


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("ids", IDS)
def test_rows_repeat_within_and_across_shares_and_some_are_absent(ids, count: int):
    shares = [share(ids, k, count) for k in range(count)]
    assert all(len(np.unique(each)) < each.size for each in shares)
    assert np.intersect1d(shares[0], shares[1]).size > 0
    assert np.setdiff1d(IDS, ids).size > 0
