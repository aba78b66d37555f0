"""Two replicas go on from a loaded state as one device does, whenever it was loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests import processes
from tests.programs.waiting_cases import CASES

pytestmark = [
    pytest.mark.needs("replicas"),
    pytest.mark.xdist_group("replicas"),
    pytest.mark.long,
]
TOLERANCE = 1e-6  # As in test_replicas.py: the rows are added in another order.


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("waiting")
    processes.run(("tests.programs.wait_on_replicas", str(folder)))
    return folder


@pytest.mark.parametrize(("name", "way"), CASES)
def test_replicas_go_on_as_one_device_does(folder: Path, name: str, way: str):
    errors = json.loads((folder / "errors.json").read_text())
    assert f"{name}/{way}" not in errors, errors[f"{name}/{way}"]
    with np.load(folder / "weights.npz") as weights:
        given, expected = weights[f"{name}/{way}"], weights[f"{name}/alone"]
    np.testing.assert_allclose(given, expected, 0, TOLERANCE)
