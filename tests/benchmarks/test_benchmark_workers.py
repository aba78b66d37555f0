"""The workers benchmark counts the bytes of a step."""

import sys

import numpy as np
import pytest

pytest.importorskip("cpuinfo")
pytest.importorskip("matplotlib")

from benchmarks import suite
from benchmarks.workers import command
from benchmarks.workers.probe import SUBJECTS, WIDTH, Case

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("workers")]

STREAM = Case(SUBJECTS[0], 1_000, 1)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="counts on Linux's loopback")
def test_rows_are_sent_once_and_a_clip_adds_nothing():
    (measure,) = command.parts(suite.QUICK).values()
    sent = measure().set_index("subject")["value"]
    merged = np.mean([len(set(STREAM.ids(worker)[-1])) for worker in range(2)])
    of_a_row = 2 * (4 * WIDTH + 4)
    for ours in ("Adam", "Adam, clipped"):
        assert merged * of_a_row == pytest.approx(sent[ours], rel=0.25)
    assert sent["keras.optimizers.Adam"] > 1.2 * sent["Adam"]


def test_a_stream_is_the_same_at_every_call_and_differs_by_worker():
    first, again, other = (STREAM.ids(worker) for worker in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
