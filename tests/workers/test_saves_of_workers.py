"""What two workers saved goes on on one device, and the other way round.

It is restored to the bit, between two gradients that are accumulated, and ends as a run
that was there from the start, to the rounding of its sums.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workers import saving
from tests.workers.results import TOLERANCE, Results, distance, identical

pytestmark = [
    pytest.mark.needs("tensorflow"),
    pytest.mark.workers,
    pytest.mark.xdist_group("workers"),
]
SAVED, STEPS = 3, 8


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_save_goes_on_on_another_number(before: int, after: int, tmp_path: Path):
    saves = tmp_path / "saves"
    saving.run(tmp_path / "before", saves, before, SAVED)
    saving.run(tmp_path / "after", saves, after, STEPS)
    first, second = (
        Results(tmp_path / "before", before),
        Results(tmp_path / "after", after),
    )
    assert second.scalars("steps") == [SAVED] * after
    saved, *_ = first.of("run", "saved")
    assert all(identical(began, saved) for began in second.of("run", "began"))
    [end, *_], [undisturbed, *_] = (
        second.of(run, "end") for run in ("run", "undisturbed")
    )
    assert distance(end, undisturbed) < TOLERANCE
