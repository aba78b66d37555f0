"""`python -m benchmarks` measures, stores and prints what it is asked for."""

import subprocess
from types import SimpleNamespace

import pytest

pytest.importorskip("cpuinfo")
pytest.importorskip("matplotlib")

from benchmarks import __main__ as main
from benchmarks import rows, setting, suite
from benchmarks.rows import spread
from tests.processes import ROOT

pytestmark = pytest.mark.once


def figures(part: str, *values: float):
    return rows.frame([spread(values, part=part, case="time", unit="ms")])


@pytest.fixture
def fake(monkeypatch):
    """A suite of two parts, whose pages print the names of the stored parts."""
    modules = {
        "command": SimpleNamespace(
            parts=lambda plan: {name: lambda n=name: figures(n, 1.0) for name in "ab"}
        ),
        "pages": SimpleNamespace(
            publish=lambda folder: ", ".join(rows.read(folder)["part"]),
        ),
    }
    find = lambda name: modules[name.rpartition(".")[2]]  # noqa: E731
    monkeypatch.setattr(main, "import_module", find)
    monkeypatch.setattr(suite, "hide_native_logs", lambda: None)
    return modules


@pytest.mark.parametrize("quick", [[], ["--quick"]])
def test_a_command_writes_to_build_without_output(fake, quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main.main(["steps", *quick])
    (file,) = tmp_path.rglob(rows.FILE)
    folder = f"build/benchmark{'-quick' if quick else ''}/steps"
    assert file.parent.relative_to(tmp_path).as_posix() == folder
    plan = suite.QUICK if quick else suite.FULL
    assert {one["plan"] for one in setting.read(file.parent).values()} == {plan}


def test_only_measures_one_part_and_keeps_the_others(fake, tmp_path, capsys):
    rows.store(tmp_path, "a", figures("a", 2.0))
    main.main(["steps", "--only", "b", "--output", str(tmp_path)])
    assert capsys.readouterr().out == "a, b\n"
    assert rows.read(tmp_path)["value"].tolist() == [2.0, 1.0]
    assert list(setting.read(tmp_path)) == ["b"]


def test_only_refuses_an_unknown_part(fake, tmp_path):
    with pytest.raises(SystemExit, match="sun"):
        main.main(["steps", "--only", "sun", "--output", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_an_interrupted_run_keeps_the_complete_parts(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    parts = {"a": lambda: figures("a", 1.0), "b": interrupt}
    with pytest.raises(KeyboardInterrupt):
        suite.carry_out(parts, suite.FULL, tmp_path)
    assert list(rows.read(tmp_path)["part"]) == list(setting.read(tmp_path)) == ["a"]


def test_rows_are_read_as_written_with_four_digits(tmp_path):
    rows.store(tmp_path, "a", figures("a", 1.23456, 2.0, float("inf")))
    rows.store(tmp_path, "b", figures("b", float("nan")))
    found = rows.read(tmp_path)
    assert found["low"].tolist()[0] == 1.235
    assert found["high"].tolist()[0] == float("inf")
    assert found["value"].isna().tolist() == [False, True]
    assert found["subject"].tolist() == ["", ""]


def test_make_writes_to_the_committed_results_only_for_results():
    def commands(*targets):
        command = ["make", "--dry-run", "--no-print-directory", *targets]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        return done.stdout

    targets = [f"benchmark{each}" for each in ("", "-quick", "-steps", "-precision")]
    assert "benchmarks/results" not in commands(*targets)
    renewed = commands("results")
    for name in main.SUITES:
        folder = f"benchmarks/results/{name}"
        assert f"-m benchmarks {name} --output {folder}" in renewed
