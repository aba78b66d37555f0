"""The conformance benchmark keeps what it did not run anew, in order."""

import io

import pandas as pd
import pytest

pytest.importorskip("cpuinfo")
pytest.importorskip("matplotlib")
pytest.importorskip("typer")

from rich.console import Console

from benchmarks import report, setting, suite
from benchmarks.conformance import command, results
from benchmarks.conformance.command import QUICK
from benchmarks.conformance.contenders import CONTENDERS
from keras_textbook_opt.testing import CHECKS

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("benchmark_conformance")]

HOUSE, (NAME, OTHER, *_) = "this package", CONTENDERS["this package"]
FIRST, SECOND = (check.__name__ for check in CHECKS[:2])


def said(*lines: tuple[str, str, str]) -> pd.DataFrame:
    """Results of optimizers of ours: name, check, status."""
    return pd.DataFrame(
        [(HOUSE, *line, 0.1, 'this:\n  that, "1"') for line in lines],
        columns=results.COLUMNS,
    )


def test_new_results_take_the_place_of_old_ones_in_the_order_of_the_checks():
    old = said((OTHER, SECOND, "passed"), ("gone", FIRST, "passed"))
    elsewhere = old.assign(house="another")
    new = said((NAME, SECOND, "failed"), (OTHER, FIRST, "failed"))
    again = said((OTHER, SECOND, "failed"), (NAME, "check_of_old", "passed"))
    both = results.merged(pd.concat([old, elsewhere]), new, [FIRST, SECOND])
    both = results.merged(both, again, [FIRST, SECOND])
    assert both[["house", "optimizer", "check", "status"]].to_numpy().tolist() == [
        [HOUSE, OTHER, FIRST, "failed"],
        [HOUSE, OTHER, SECOND, "failed"],
        [HOUSE, "gone", FIRST, "passed"],
        [HOUSE, NAME, SECOND, "failed"],
        ["another", OTHER, SECOND, "passed"],
        ["another", "gone", FIRST, "passed"],
    ]


def test_what_was_said_is_read_as_it_was_written(tmp_path):
    written = said((NAME, FIRST, "failed"), (NAME, SECOND, "passed"))
    written.loc[1, "said"] = ""
    results.write(written, tmp_path)
    pd.testing.assert_frame_equal(results.read(tmp_path), written)


@pytest.mark.long
def test_a_run_of_one_optimizer_leaves_the_others(tmp_path):
    results.write(said((OTHER, SECOND, "passed")), tmp_path)
    console = Console(file=io.StringIO())
    chosen = {"only": [HOUSE], "select": [FIRST]}
    assert command.carry_out(QUICK, tmp_path, console, **chosen) == 0
    found = results.read(tmp_path)
    assert list(found["optimizer"]) == [OTHER, NAME]
    assert list(found["check"]) == [SECOND, FIRST]
    run = setting.read(tmp_path)[suite.RUN]
    assert run["checker"] == command.fingerprint() and run["missing"] == []
    assert f"| {HOUSE}: {NAME} " in (tmp_path / report.TABLE).read_text()
