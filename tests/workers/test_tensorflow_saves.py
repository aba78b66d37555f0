"""Workers that were killed resume from their last save as if nothing had happened.

TensorFlow has no way for one worker to rejoin: all are started again, and restore what
the first one saved last. There is a variable of 16 bits with its carry, and every kill
comes between two gradients that are accumulated, as most of the saves do.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import processes
from tests.workers.results import TOLERANCE, Results, distance, identical

pytestmark = [pytest.mark.needs("tensorflow"), pytest.mark.xdist_group("workers")]
NEVER = -1


class Kill(NamedTuple):
    """Which worker is killed after which step, and the save from which all resume."""

    worker: int
    after: int
    saved: int


ONE = [Kill(worker=1, after=5, saved=3)]
THREE = [*ONE, Kill(worker=0, after=7, saved=6), Kill(worker=1, after=11, saved=9)]


def programs(
    folder: Path, saves: Path, count: int, steps: int, kill: Kill | None = None
) -> list[tuple[str, ...]]:
    """Train until so many steps are taken. A `count` of 1 is one device, no worker."""
    ports = processes.free_ports(count) if count > 1 else []
    folder.mkdir()
    program = ("tests.workers.programs.tensorflow_saves", str(folder), str(saves))
    kills = [kill.after if kill and kill.worker == k else NEVER for k in range(count)]
    return [
        (*program, str(steps), str(after), str(k), *ports)
        for k, after in enumerate(kills)
    ]


def run(folder: Path, saves: Path, count: int, steps: int) -> Results:
    processes.run_peers(*programs(folder, saves, count, steps), logs=folder / "logs")
    return Results(folder, count)


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(ONE, id="once", marks=pytest.mark.long),
        pytest.param(THREE, id="three times", marks=pytest.mark.workers),
    ],
)
def test_killed_workers_end_as_an_undisturbed_run(kills: list[Kill], tmp_path: Path):
    saves, count, steps = tmp_path / "saves", 2, 13
    for kill in kills:
        folder = tmp_path / f"killed_after_{kill.after}"
        peers = programs(folder, saves, count, steps, kill)
        statuses = processes.peers_statuses(*peers, logs=folder / "logs")
        assert statuses[kill.worker] == -signal.SIGKILL, folder
        assert (saves / "chief" / f"ckpt-{kill.saved}.index").exists()
    results = run(tmp_path / "last", saves, count, steps)
    assert results.scalars("steps") == [kills[-1].saved] * count
    runs, undisturbed = results.of("run", "end"), results.of("undisturbed", "end")
    assert len(runs) == len(undisturbed) == count
    assert all(map(identical, runs, undisturbed))
    assert identical(*runs)


@pytest.mark.workers
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_save_is_restored_on_another_number_of_workers(
    before: int, after: int, tmp_path: Path
):
    """To the bit; the end is that of one run, to the rounding of its sums."""
    saved_at, steps = 3, 8
    first = run(tmp_path / "before", tmp_path / "saves", before, saved_at)
    second = run(tmp_path / "after", tmp_path / "saves", after, steps)
    assert second.scalars("steps") == [saved_at] * after
    saved, *_ = first.of("run", "saved")
    assert all(identical(began, saved) for began in second.of("run", "began"))
    [end, *_], [undisturbed, *_] = (
        second.of(run, "end") for run in ("run", "undisturbed")
    )
    assert distance(end, undisturbed) < TOLERANCE
