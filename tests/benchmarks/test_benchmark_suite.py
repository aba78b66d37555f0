"""A benchmark keeps what it measured, whole part by whole part, and says what not."""

import importlib
import io
import math
import subprocess
import sys
from pathlib import Path
from shutil import copy

import pytest

pytest.importorskip("cpuinfo")
pytest.importorskip("matplotlib")
pytest.importorskip("typer")

from rich.console import Console
from typer.testing import CliRunner

from benchmarks import INTERRUPTED, report, rows, setting, suite
from benchmarks import __main__ as main
from benchmarks.rows import Row
from benchmarks.suite import Part
from tests.conftest import COMMITTED
from tests.processes import ROOT

pytestmark = pytest.mark.once


def row(part: str, value: float) -> Row:
    return Row(part, "case", "ours", "tensorflow", "", 0.5, value, "ms")


def measuring(name: str) -> Part:
    return Part(name, 1, lambda advance: [row(name, 1.0)])


def interrupted(advance):
    raise KeyboardInterrupt


def said(folder) -> str:
    return ", ".join(rows.read(folder)["part"])


def carry_out(parts, folder) -> tuple[int, str]:
    log = io.StringIO()
    code = suite.carry_out(parts, folder, said, Console(file=log), plan="quick")
    return code, log.getvalue().splitlines()[-1]


def test_all_parts_are_written_and_said(tmp_path, capsys):
    code, last = carry_out([measuring("a"), measuring("b")], tmp_path)
    assert (code, last) == (0, f"Done: the results are in {tmp_path}")
    assert capsys.readouterr().out == "a, b\n"
    run = setting.read(tmp_path)[suite.RUN]
    assert run["plan"] == "quick" and run["missing"] == []
    assert run["machine"]["cores"] >= 1 and run["seconds"] >= 0
    assert {"python", "keras", "numpy"} <= run["versions"].keys()


def test_ctrl_c_keeps_the_parts_that_were_complete(tmp_path):
    parts = [measuring("a"), Part("b", 1, interrupted), measuring("c")]
    code, last = carry_out(parts, tmp_path)
    assert code == INTERRUPTED and "1 of 3 parts were complete" in last
    assert said(tmp_path) == "a"
    assert setting.read(tmp_path)[suite.RUN]["missing"] == ["b", "c"]


def test_ctrl_c_before_a_part_was_complete_writes_nothing(tmp_path):
    code, last = carry_out([Part("a", 1, interrupted)], tmp_path)
    assert code == INTERRUPTED and "nothing was written" in last
    assert not list(tmp_path.iterdir())


def test_figures_are_read_as_they_were_written(tmp_path):
    values = [0.0, 1e-14, 83.24385, 12_810_892.0, math.inf, math.nan]
    written = rows.frame(row(str(value), value) for value in values)
    rows.write(written, tmp_path)
    found = rows.read(tmp_path)
    assert found["value"].tolist()[:-1] == values[:-1]
    assert math.isnan(found["value"].iloc[-1])
    assert (found["size"] == "").all()


def test_a_figure_has_one_row(tmp_path):
    with pytest.raises(ValueError, match="measured twice"):
        rows.write(rows.frame([row("a", 1.0), row("a", 2.0)]), tmp_path)
    assert not (tmp_path / rows.FILE).exists()
    with pytest.raises(LookupError, match="2 rows are of"):
        rows.median(rows.frame([row("a", 1.0), row("a", 2.0)]), part="a")


@pytest.mark.parametrize("name", ["boston", "precision", "conformance", "workers"])
@pytest.mark.parametrize("quick", [False, True])
def test_a_command_writes_to_build_unless_told_where(name, quick, monkeypatch):
    def carry_out(plan, folder, console, **chosen):
        called.append((plan.name, folder))
        return 7

    called: list[tuple[str, Path]] = []
    command = importlib.import_module(f"benchmarks.{name}.command")
    monkeypatch.setattr(command, "carry_out", carry_out)
    monkeypatch.setattr(main, "_use_tensorflow_on_the_processor", lambda: None)
    options = ["--quick"] if quick else []
    ended = CliRunner().invoke(main.app, [name, *options])
    told = CliRunner().invoke(main.app, [name, *options, "--output", "elsewhere"])
    assert ended.exit_code == told.exit_code == 7
    plan = "quick" if quick else "full"
    build = Path("build") / ("benchmark-quick" if quick else "benchmark") / name
    assert called == [(plan, build), (plan, Path("elsewhere"))]


def test_a_part_that_is_not_there_is_refused():
    ended = CliRunner().invoke(main.app, ["steps", "--only", "dense", "--only", "sun"])
    assert ended.exit_code == 2 and "sun" in ended.stderr


REDRAW = """
import sys
from benchmarks.__main__ import app
app(["redraw", *sys.argv[1:]], standalone_mode=False)
assert not {"keras", "tensorflow", "jax", "torch"} & sys.modules.keys()
"""


@pytest.mark.parametrize("name", ["conformance", "steps", "workers"])
def test_the_committed_pages_are_drawn_from_their_rows_without_a_backend(
    name, tmp_path
):
    for file in (rows.FILE, setting.FILE):
        copy(COMMITTED / name / file, tmp_path)
    program = [sys.executable, "-c", REDRAW, name, "--output", str(tmp_path)]
    subprocess.run(program, cwd=ROOT, check=True)
    for file in (report.TABLE, report.REPORT):
        assert (tmp_path / file).read_text() == (COMMITTED / name / file).read_text()
