"""Two replicas take the steps that one device takes on the whole batch.

A fresh process trains few cases, and another one more, each under one
`MirroredStrategy` over two logical CPUs: logical devices are made before TensorFlow
starts, and a second strategy over the same devices would end in errors.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests import processes
from tests.backends import LONG
from tests.programs.train_replicas import REPLICAS, SETS
from tests.workers.cases import IDS, STEPS, share
from tests.workers.results import TOLERANCE, Results, identical

pytestmark = [pytest.mark.needs("replicas"), pytest.mark.xdist_group("replicas")]


Trained = tuple[set[str], Results]


@pytest.fixture(scope="module", params=["few", pytest.param("more", marks=LONG)])
def trained(request, tmp_path_factory) -> Trained:
    folder = tmp_path_factory.mktemp("replicas")
    processes.run(("tests.programs.train_replicas", str(folder), request.param))
    return SETS[request.param].keys() - {"built-in"}, Results(folder, 1)


def test_replicas_take_the_steps_of_one_device(trained: Trained):
    """Also from a saved state, which is assigned in the first step."""
    cases, results = trained
    distances = {case: results.distance(case, "replica 0") for case in cases}
    assert {k: d for k, d in distances.items() if not d < TOLERANCE} == {}


def test_replicas_hold_the_same_variables(trained: Trained):
    cases, results = trained
    for case in cases:
        first, second = (results.of(case, f"replica {k}")[0] for k in range(REPLICAS))
        assert identical(first, second), case


def test_a_monitor_shows_the_numbers_of_one_device(trained: Trained):
    [shown], [expected] = (
        trained[1].of("fit, monitored", f"{where} shown")
        for where in ("replicas", "alone")
    )
    assert shown.keys() == expected.keys() > {"grad_norm"}
    for key, values in expected.items():
        np.testing.assert_allclose(shown[key], values, rtol=1e-5, err_msg=key)


def test_the_cases_can_tell_a_clip_before_the_sum(trained: Trained):
    """Keras's own optimizer clips each replica's gradient."""
    assert trained[1].distance("built-in", "replica 0") > 1e-2


@pytest.mark.parametrize("step", range(STEPS))
def test_rows_repeat_within_and_across_replicas_and_some_are_absent(step: int):
    first, second = (share(IDS[step], k, REPLICAS) for k in range(REPLICAS))
    assert len(np.unique(first)) < first.size
    assert len(np.unique(second)) < second.size
    assert np.intersect1d(first, second).size > 0
    assert np.setdiff1d(IDS, IDS[step]).size > 0
