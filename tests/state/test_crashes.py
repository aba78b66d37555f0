"""A killed process loses the steps since its last save, and nothing silently.

`make crash` runs this; it takes minutes.
"""

from __future__ import annotations

import json

import pytest

from tests import processes

pytestmark = [pytest.mark.once, pytest.mark.crash]
KILLS = 60


def test_a_killed_run_resumes_from_its_last_save(tmp_path):
    processes.run(("tests.programs.killed_runs", str(tmp_path), str(KILLS)))
    report = json.loads((tmp_path / "report.json").read_text())
    print(report)
    assert report["faults"] == []
    assert report["kills"] == KILLS
    assert report["torn"] > 0
    assert report["epochs"] > KILLS / 2
