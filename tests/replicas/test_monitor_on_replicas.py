"""What two replicas leave for a monitor is what one device leaves."""

import json

import numpy as np
import pytest

pytestmark = [pytest.mark.needs("replicas"), pytest.mark.xdist_group("replicas")]


def test_two_replicas_have_the_norms_of_one_device(on_replicas):
    _, folder = on_replicas
    for label, found in json.loads((folder / "monitored.json").read_text()).items():
        assert "error" not in found, f"{label}: {found['error']}"
        alone, replicas = found["alone"], found["replicas"]
        for what in ("steps", "epochs"):
            assert alone[what].keys() == replicas[what].keys() > {"grad_norm"}
            for key, expected in alone[what].items():
                np.testing.assert_allclose(
                    *(replicas[what][key], expected),
                    rtol=1e-5,
                    err_msg=f"{label} {key}",
                )
