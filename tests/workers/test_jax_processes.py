"""JAX processes take the steps of one, and restore their saves to the bit.

Two processes of two devices each fit under `keras.distribution`: the batch split over
all four devices, or the model split across the processes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import processes
from tests.workers.cases import FITTED, ROWS, WIDTH
from tests.workers.results import TOLERANCE, Results, identical

pytestmark = [
    pytest.mark.needs("jax"),
    pytest.mark.workers,
    pytest.mark.xdist_group("workers"),
]
COUNT = 2


def run(action: str, folder: Path) -> Results:
    ports = processes.free_ports(COUNT)
    results = folder / action
    results.mkdir()
    program = ("tests.workers.programs.jax_processes", action, str(results))
    processes.run_peers(
        *((*program, str(folder / "saves"), str(k), *ports) for k in range(COUNT)),
        logs=results / "logs",
    )
    return Results(results, COUNT)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Results:
    return run("train", tmp_path_factory.mktemp("jax"))


@pytest.mark.parametrize("distribution", ["data", "model across"])
@pytest.mark.parametrize("case", FITTED)
def test_a_fit_ends_as_in_one_process(trained: Results, case: str, distribution: str):
    first, second = trained.of(case, distribution)
    assert identical(first, second)
    assert trained.distance(case, distribution) < TOLERANCE


@pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="Keras has an OrbaxCheckpoint since 3.13, which wants Python 3.11",
)
def test_sharded_state_is_restored_to_the_bit(tmp_path: Path):
    saved, restored = run("save", tmp_path), run("restore", tmp_path)
    for before, fresh, after in zip(
        saved.of("shards", "saved"),
        restored.of("shards", "fresh"),
        restored.of("shards", "restored"),
        strict=True,
    ):
        assert (ROWS, WIDTH) not in {part.shape for part in before.values()}
        assert not identical(fresh, before)
        assert identical(after, before)
