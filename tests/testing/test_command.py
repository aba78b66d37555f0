"""The command: what it shows, what it writes and what it ends with."""

import json

import pytest
from typer.testing import CliRunner

from keras_textbook_opt.testing.__main__ import app

pytestmark = pytest.mark.once

COUNTING = "check_iterations_count_the_steps"
HUGE = "check_huge_gradients_keep_their_direction"
FOLLOWING = "check_follows_the_reference"


def run(*arguments):
    return CliRunner(env={"COLUMNS": "1000"}).invoke(app, list(arguments))


def test_it_ends_with_0_where_all_passed():
    ended = run("keras_textbook_opt:Adam", "--select", COUNTING)
    assert ended.exit_code == 0
    assert "1 passed, 0 failed, 0 skipped, 0 xfail" in ended.output


def test_it_ends_with_1_and_says_what_failed_what_to_do_and_what_is_waited_for():
    words = ["--select", HUGE, "--select", FOLLOWING]
    ended = run("keras.optimizers:SGD", *words)
    assert ended.exit_code == 1
    [failed] = [line for line in ended.output.splitlines() if HUGE in line]
    assert "of the movement" in failed
    assert "Divide by the largest element" in failed
    [skipped] = [line for line in ended.output.splitlines() if FOLLOWING in line]
    assert "waits for the equation" in skipped
    assert "0 passed, 1 failed, 1 skipped, 0 xfail" in ended.output


def test_a_failure_that_was_expected_is_none():
    expected = f"{HUGE}=Keras squares the gradient"
    ended = run("keras.optimizers:SGD", "--select", HUGE, "--expect", expected)
    assert ended.exit_code == 0
    assert "Keras squares the gradient" in ended.output
    assert "1 xfail" in ended.output


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["keras.optimizers"], "Expected an optimizer as"),
        (["keras.optimizers:NoSuch"], "NoSuch"),
        (["no_such_module:Adam"], "no_such_module"),
        (["keras:__version__"], "Expected a class or a function"),
        (
            ["keras.optimizers:SGD", "--select", "nonsense"],
            "Expected a part of the name",
        ),
        (["keras.optimizers:SGD", "--expect", "nothing"], "Expected names of checks"),
        (["keras.optimizers:SGD", "--backend", "theano"], "Expected a backend"),
    ],
)
def test_it_ends_with_2_where_it_cannot_run(arguments, said):
    ended = run(*arguments)
    assert ended.exit_code == 2
    assert said in ended.output


def test_the_results_are_written(tmp_path):
    path = tmp_path / "results.json"
    run("keras.optimizers:SGD", "--select", HUGE, "--json", str(path))
    written = json.loads(path.read_text())
    assert written["optimizer"] == "keras.optimizers:SGD"
    [result] = written["results"]
    assert result["check_name"] == HUGE
    assert result["status"] == "failed"
    assert "To see it again" in result["exception"]


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_it_runs_on_the_backend_that_is_named(backend, tmp_path):
    """Whichever this process has: Keras has one a process, and has been imported."""
    pytest.importorskip(backend)
    path = tmp_path / "results.json"
    words = ["--select", HUGE, "--backend", backend, "--json", str(path)]
    assert run("keras.optimizers:SGD", *words).exit_code == 1
    written = json.loads(path.read_text())
    assert written["backend"] == backend
    assert [result["status"] for result in written["results"]] == ["failed"]
