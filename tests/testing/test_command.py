"""The command: its options, its output, and its exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from typer.testing import CliRunner

from keras_textbook_opt.testing import CHECKS, check_optimizer, report
from keras_textbook_opt.testing.__main__ import app

pytestmark = pytest.mark.once

SGD = "keras.optimizers:SGD"
COUNTING, RATE = "check_iterations", "check_invalid_learning_rate"
REFERENCE = "check_reference"


def run(*arguments):
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, list(map(str, arguments)))


def test_command_exits_0_if_all_checks_pass():
    ended = run("keras_textbook_opt:Adam", "--select", COUNTING)
    assert ended.exit_code == 0
    assert "keras_textbook_opt:Adam: 1 passed" in ended.output


def test_command_exits_1_and_explains_a_failure_in_80_columns():
    ended = run(SGD, "--select", RATE, "--select", REFERENCE)
    assert ended.exit_code == 1
    assert f"FAILED {RATE}\n" in ended.output
    assert "it accepts learning_rate=nan" in ended.output
    assert "Fix: Check the rate in `__init__`" in ended.output
    assert f"\n{RATE}(keras.src.optimizers.sgd.SGD)\n" in ended.output
    assert f"{REFERENCE}  not applicable: no equation given" in ended.output
    assert "1 failed, 1 skipped" in ended.output
    wide = [line for line in ended.output.splitlines() if len(line) > 80]
    assert all(line.startswith("import ") for line in wide)  # can be pasted whole


def test_expected_failure_does_not_fail_the_run():
    ended = run(SGD, "--select", RATE, "--expect", f"{RATE}=Keras checks none")
    assert ended.exit_code == 0
    assert "expected to fail: Keras checks none" in ended.output


def test_expected_failure_that_passes_fails_the_run():
    ended = run(SGD, "--select", COUNTING, "--expect", f"{COUNTING}=a rumor")
    assert ended.exit_code == 1
    assert f"XPASS {COUNTING}" in ended.output


def test_inherited_failure_does_not_fail_the_run():
    ended = run("keras.optimizers:Adam", "--select", RATE, "--baseline", SGD)
    assert ended.exit_code == 0
    assert f"{RATE}  inherited: SGD fails as well" in ended.output


def test_list_shows_all_checks_by_group():
    output = run("--list").output
    assert "group:state" in output
    names = {line.strip() for line in output.splitlines()}
    assert {check.__name__ for check in CHECKS} <= names


def test_x_stops_at_the_first_failure():
    ended = run(SGD, "-x", "--select", "group:validation")
    assert ended.exit_code == 1
    assert ended.output.count("FAILED") == 1


def test_deselect_leaves_out_checks():
    selection = ["--select", "check_iter*", "--select", RATE, "--deselect", RATE]
    assert run(SGD, *selection).exit_code == 0


MODULE = """
import keras

class Broken(keras.optimizers.Optimizer):
    def update_step(self, gradient, variable, learning_rate):
        raise TypeError("this step is broken")

class Never(keras.optimizers.Optimizer):
    def __init__(self, learning_rate=0.1):
        raise RuntimeError("no optimizer today")

def sgd(t, η, θ, g):
    return θ - η * g
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("mine.py").write_text(MODULE)
    Path("wrong.py").write_text("def f(:\n")
    Path("quits.py").write_text("raise SystemExit(0)\n")
    yield
    sys.modules.pop("mine", None)


def test_reference_is_imported(module):
    ended = run(SGD, "--select", REFERENCE, "--reference", "mine:sgd")
    assert ended.exit_code == 0


def test_failure_names_the_line_that_raises(module):
    ended = run("mine:Broken", "--select", "group:contract")
    assert ended.exit_code == 1
    assert "raises TypeError: this step is broken" in ended.output
    assert "At: mine.py:6, in update_step" in ended.output
    assert ended.output.count("FAILED") == 1
    assert "could not run: raises TypeError: this step is broken" in ended.output
    assert ended.output.count("check_") < 10


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "Name an optimizer"),
        (["keras.optimizers"], "Expected `module:name`"),
        (["keras.optimizers:NoSuch"], "NoSuch"),
        (["no_such_module:Adam"], "no_such_module"),
        (["keras:__version__"], "is not a class or a function"),
        (["keras.layers:Dense", "--select", "group:clips"], "keras.layers:Dense"),
        (["keras_textbook_opt:TextbookOptimizer"], "abstract"),
        (["keras.optimizers:Optimizer"], "abstract: a step raises NotImplementedError"),
        (["mine:Never"], "no optimizer today (at mine.py:10, in __init__)"),
        (["mine:Broken", "--select", "group:clips"], "No check ran"),
        (["wrong:Adam"], "wrong.py, line 1"),
        (["quits:Adam"], "cannot be imported: SystemExit"),
        ([SGD, "--select", "state"], "Did you mean 'group:state'? Expected"),
        ([SGD, "--select", REFERENCE], "No check ran"),
        ([SGD, "--expect", "nothing"], "Expected names of checks"),
        ([SGD, "--backend", "theano"], "'theano' is not installed"),
        ([SGD, "--json", "no/such/folder.json"], "no/such/folder.json"),
        ([SGD, "--json", os.devnull], "Expected a regular file"),
    ],
)
def test_command_exits_2_if_it_cannot_run(module, arguments, said):
    ended = run(*arguments)
    assert ended.exit_code == 2, ended.output
    assert said in " ".join(ended.output.split())


def test_results_are_written_as_json(tmp_path):
    path = tmp_path / "results.json"
    run(SGD, "--select", RATE, "--json", path)
    written = json.loads(path.read_text())
    assert written["optimizer"] == SGD
    assert {"python", "keras", "tensorflow"} <= written["versions"].keys()
    assert written["finished"]
    [result] = written["results"]
    assert (result["check_name"], result["status"]) == (RATE, "failed")
    assert "Reproduce:" in result["exception"]


def test_results_can_be_read_if_the_run_is_killed(tmp_path, monkeypatch):
    path, write = tmp_path / "results.json", Path.write_text

    def killed(self, text, **how):
        write(self, text[: len(text) // 2], **how)
        raise KeyboardInterrupt

    file = report.Written(path, SGD)
    [result] = check_optimizer(keras.optimizers.SGD, select=COUNTING)
    file.add(result)
    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        file.add(result)
    written = json.loads(path.read_text())
    assert [each["check_name"] for each in written["results"]] == [COUNTING]
    assert not written["finished"]


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_command_runs_on_another_backend(backend, tmp_path, monkeypatch):
    pytest.importorskip(backend)
    path = tmp_path / "results.json"
    words = [SGD, "--select", RATE, "--backend", backend, "--json", str(path)]
    monkeypatch.setattr(sys, "argv", ["the command", *words])
    assert run(*words).exit_code == 1
    written = json.loads(path.read_text())
    assert written["backend"] == backend
    assert [result["status"] for result in written["results"]] == ["failed"]


ROOT = Path(__file__).parents[2]
WITHOUT = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "{0}":
            raise ModuleNotFoundError("No module named '{0}'", name=name)

sys.meta_path.insert(0, Missing())
"""


def started(*arguments, **environment):
    """The installed command in a process of its own."""
    command = [sys.executable, str(ROOT / "check_keras_optimizer.py"), SGD, *arguments]
    paths = [environment.pop("PYTHONPATH", ""), str(ROOT)]
    variables = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    return subprocess.run(
        command,
        env=variables | environment | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_command_prints_no_log_lines(backend):
    pytest.importorskip(backend)
    ended = started("--select", "check_h5_file_resumes", KERAS_BACKEND=backend)
    assert ended.returncode == 1
    assert ended.stderr == ""


@pytest.mark.parametrize(
    "missing, arguments, said",
    [
        ("tensorflow", ["--backend", "jax"], None),
        ("tensorflow", [], "tensorflow"),
        (
            "typer",
            ["--backend", "jax"],
            'pip install "keras-textbook-opt[testing,jax]"',
        ),
    ],
)
def test_command_needs_only_the_named_backend(tmp_path, missing, arguments, said):
    pytest.importorskip("jax")
    (tmp_path / "sitecustomize.py").write_text(WITHOUT.format(missing))
    ended = started("--select", COUNTING, *arguments, PYTHONPATH=str(tmp_path))
    assert ended.returncode == (2 if said else 0), ended.stdout + ended.stderr
    assert (said or "") in ended.stdout
