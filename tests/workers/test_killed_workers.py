"""Workers that were killed go on from their last save as if nobody had killed them.

A worker that is alone cannot go on, and one that comes back cannot join it (TensorFlow
has no place for either): all are started again, and go on from what the first one saved
last. There is a variable of 16 bits with its carry, and every kill falls between two
gradients that are accumulated, as all but one of the saves do.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.workers import saving
from tests.workers.results import Results, identical
from tests.workers.saving import Kill

pytestmark = [pytest.mark.needs("tensorflow"), pytest.mark.xdist_group("workers")]
COUNT, STEPS = 2, 13
ONE = [Kill(worker=1, after=5, saved=3)]
THREE = [*ONE, Kill(worker=0, after=7, saved=6), Kill(worker=1, after=11, saved=9)]


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(ONE, id="once", marks=pytest.mark.long),
        pytest.param(THREE, id="three times", marks=pytest.mark.workers),
    ],
)
def test_killed_workers_end_where_they_would_have(kills: list[Kill], tmp_path: Path):
    saves = tmp_path / "saves"
    for kill in kills:
        folder = tmp_path / f"killed_after_{kill.after}"
        status = saving.killed_run(folder, saves, COUNT, STEPS, kill)
        assert status == -signal.SIGKILL, folder
        assert (saves / "chief" / f"ckpt-{kill.saved}.index").exists()
    saving.run(tmp_path / "last", saves, COUNT, STEPS)
    results = Results(tmp_path / "last", COUNT)
    assert results.scalars("steps") == [kills[-1].saved] * COUNT
    runs, undisturbed = results.of("run", "end"), results.of("undisturbed", "end")
    assert len(runs) == len(undisturbed) == COUNT
    assert all(map(identical, runs, undisturbed))
    assert identical(*runs)
