"""The conformance benchmark stores the results of checks, a column an optimizer."""

import pandas as pd
import pytest

pytest.importorskip("cpuinfo")
pytest.importorskip("matplotlib")

from benchmarks.conformance import results

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("benchmark_conformance")]

MESSAGE = "clipped: off by 0.44.\nTo mend it: divide.\nTo see it again:\n    code"


def said(**statuses: str) -> pd.DataFrame:
    lines = [("clips", name, status, MESSAGE) for name, status in statuses.items()]
    return pd.DataFrame(lines, columns=["group", "check", "status", "said"])


def test_results_are_read_as_stored_and_other_optimizers_stay(tmp_path):
    results.store(tmp_path, "ours: Adam, lazy", said(a="passed", b="skipped"))
    results.store(tmp_path, "keras: SGD", said(a="failed", b="passed"))
    found = results.read(tmp_path)
    assert found[["house", "optimizer", "check", "status"]].to_numpy().tolist() == [
        ["ours", "Adam, lazy", "a", "passed"],
        ["ours", "Adam, lazy", "b", "skipped"],
        ["keras", "SGD", "a", "failed"],
        ["keras", "SGD", "b", "passed"],
    ]
    assert found["said"].tolist() == ["", "", "clipped: off by 0.44.", ""]


def test_a_check_that_is_gone_is_dropped(tmp_path):
    results.store(tmp_path, "ours: Adam", said(old="passed", kept="passed"))
    results.store(tmp_path, "ours: SGD", said(kept="failed", new="passed"))
    wide = results.wide(tmp_path).droplevel("group")
    assert wide["ours: Adam"].to_dict() == {"kept": ".", "new": "-"}
