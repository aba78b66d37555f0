"""Two replicas take the steps that one device takes on the whole batch.

A fresh process trains few cases, and another one more, each under one
`MirroredStrategy` over two logical CPUs: logical devices are made before TensorFlow
starts, and a second strategy over the same devices would end in errors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests import processes
from tests.backends import LONG
from tests.programs.replica_cases import BUILT_IN, IDS, SETS, SHARE, Case

pytestmark = [pytest.mark.needs("replicas"), pytest.mark.xdist_group("replicas")]
# Two replicas add the rows of a batch in another order than one device does: that is a
# rounding, 6e-8 of weights below 1, in each of 5 to 10 steps.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Trained:
    """What the process left in its folder."""

    folder: Path
    cases: list[Case]

    def ours(self) -> list[Case]:
        return [case for case in self.cases if case not in BUILT_IN]

    def report(self, case: Case) -> dict:
        found = json.loads((self.folder / "replicas.json").read_text())[case.label]
        assert "error" not in found, f"{case.label}: {found['error']}"
        return found

    def distance(self, case: Case) -> float:
        """How far the weights of the replicas are from those of one device."""
        self.report(case)
        with np.load(self.folder / "weights.npz") as weights:
            alone, replicas = (
                weights[f"{case.label}/{k}"] for k in ("alone", "replicas")
            )
        return np.abs(replicas - alone).max()


@pytest.fixture(scope="module", params=["few", pytest.param("more", marks=LONG)])
def trained(request, tmp_path_factory) -> Trained:
    folder = tmp_path_factory.mktemp("replicas")
    processes.run(("tests.programs.train_replicas", str(folder), request.param))
    return Trained(folder, SETS[request.param])


def test_replicas_take_the_steps_of_one_device(trained: Trained):
    """Also from a saved state, which is assigned in the first step."""
    distances = {case.label: trained.distance(case) for case in trained.ours()}
    assert {k: d for k, d in distances.items() if not d < TOLERANCE} == {}


def test_replicas_hold_the_same_variables(trained: Trained):
    assert [c.label for c in trained.ours() if not trained.report(c)["same"]] == []


def test_a_monitor_shows_the_numbers_of_one_device(trained: Trained):
    cases = [case for case in trained.ours() if case.arguments.get("monitor")]
    assert cases
    for case in cases:
        shown, expected = (trained.report(case)[k] for k in ("shown", "expected"))
        assert shown.keys() == expected.keys() > {"grad_norm"}
        for key, values in expected.items():
            message = f"{case.label} {key}"
            np.testing.assert_allclose(shown[key], values, rtol=1e-5, err_msg=message)


def test_the_cases_can_tell_a_clip_before_the_sum(trained: Trained):
    """Keras's own optimizer clips each replica's gradient."""
    built_in = [case for case in trained.cases if case in BUILT_IN]
    assert built_in
    assert all(trained.distance(case) > 1e-2 for case in built_in)


@pytest.mark.parametrize("step", range(len(IDS)))
def test_rows_repeat_within_and_across_replicas_and_some_are_absent(step: int):
    first, second = IDS[step, :SHARE], IDS[step, SHARE:]
    assert len(np.unique(first)) < first.size
    assert len(np.unique(second)) < second.size
    assert np.intersect1d(first, second).size > 0
    assert np.setdiff1d(IDS, IDS[step]).size > 0
