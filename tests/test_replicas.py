"""Two replicas take the steps that one device takes on the whole batch.

One fresh process trains all cases under one `MirroredStrategy` over two logical CPUs:
logical devices are made before TensorFlow starts, and a second strategy over the same
devices would end in errors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests import processes
from tests.programs.replica_cases import BUILT_IN, CASES, IDS, SHARE, Case

pytestmark = pytest.mark.xdist_group("replicas")
# Two replicas add the rows of a batch in another order than one device does: that is a
# rounding, 6e-8 of weights below 1, in each of 5 steps.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Trained:
    """What the process left in its folder."""

    folder: Path

    def report(self, case: Case) -> dict:
        return json.loads((self.folder / "replicas.json").read_text())[case.label]

    def distance(self, case: Case) -> float:
        """How far the weights of the replicas are from those of one device."""
        report = self.report(case)
        assert "error" not in report, report["error"]
        with np.load(self.folder / "weights.npz") as weights:
            alone, replicas = (
                weights[f"{case.label}/{k}"] for k in ("alone", "replicas")
            )
        return np.abs(replicas - alone).max()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    folder = tmp_path_factory.mktemp("replicas")
    processes.run(("tests.programs.train_replicas", str(folder)))
    return Trained(folder)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_replicas_take_the_steps_of_one_device(trained: Trained, case: Case):
    assert trained.distance(case) < TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_replicas_hold_the_same_variables(trained: Trained, case: Case):
    assert trained.report(case).get("same"), trained.report(case)


@pytest.mark.parametrize("case", BUILT_IN, ids=lambda case: case.label)
def test_a_clip_before_the_sum_is_seen(trained: Trained, case: Case):
    """Keras's own optimizer clips each replica's gradient: the cases can tell."""
    assert trained.distance(case) > 1e-2


@pytest.mark.parametrize("step", range(len(IDS)))
def test_rows_repeat_within_and_across_replicas_and_some_are_absent(step: int):
    first, second = IDS[step, :SHARE], IDS[step, SHARE:]
    assert len(np.unique(first)) < first.size
    assert len(np.unique(second)) < second.size
    assert np.intersect1d(first, second).size > 0
    assert np.setdiff1d(IDS, IDS[step]).size > 0
