"""The precision benchmark measures what it says, and its verdict can be no."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("pandas")
pytest.importorskip("rich")
pytest.importorskip("tabulate")
pytest.importorskip("typer")

from rich.console import Console
from typer.testing import CliRunner

from benchmarks import __main__ as main
from benchmarks.precision import command, plans, plots, report
from benchmarks.precision.plans import SEEDS, TASKS, Plan, full, quick
from benchmarks.precision.summary import TaskSummary, compare, summarize
from benchmarks.precision.train import (
    Run,
    Trainer,
    float32_weights,
    initial_weights,
    share_moved,
    shuffled_rows,
)
from benchmarks.precision.variants import BUILTIN, VARIANTS

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("benchmark_precision")]

PNG = b"\x89PNG\r\n\x1a\n"
BOSTON = TASKS[0]
NAMED = {variant.name: variant for variant in VARIANTS}
FLOAT32, BFLOAT16 = NAMED["Adam, float32"], NAMED["Adam, bfloat16"]
SHORT = (FLOAT32, BFLOAT16, NAMED[f"{BUILTIN}, bfloat16"])


def carried_out(plan: Plan, output: Path) -> bool:
    return command.carry_out(plan, output, Console(file=io.StringIO()))


def results_in(folder: Path) -> dict:
    return json.loads((folder / report.JSON).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def short_run(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("results")
    tasks = [replace(task, epochs=1) for task in TASKS]
    assert carried_out(Plan(tasks, [0], SHORT, shortening=20), output)
    return output


def test_a_run_writes_the_same_figures_as_table_and_as_json(short_run):
    table = (short_run / report.TABLE).read_text(encoding="utf-8")
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    results = results_in(short_run)
    lines = [(t, v) for t in results["tasks"] for v in t["variants"]]
    assert len(rows) == len(lines) == len(TASKS) * len(SHORT)
    for row, (task, line) in zip(rows, lines, strict=True):
        assert task["title"] in row and line["dtype"] in row
        assert f"{line['final_losses'][0]:.4f}" in row
    assert results["versions"]["keras"] == keras.__version__
    assert results["missing"] == [] and results["seeds"] == [0]


def test_a_run_draws_the_plots_that_its_report_shows(short_run):
    shown = (short_run / report.REPORT).read_text(encoding="utf-8")
    for name in plots.NAMES:
        assert f"({name})" in shown
        assert (short_run / name).read_bytes().startswith(PNG)


def test_the_built_in_adam_in_bfloat16_moves_nothing_and_ours_does(short_run):
    for task in results_in(short_run)["tasks"]:
        ours, builtin = task["variants"][1:]
        assert ours["smallest_moved"] > 0.5
        assert builtin["largest_moved"] == 0
        assert builtin["kept"] is None
    shown = (short_run / report.REPORT).read_text(encoding="utf-8")
    assert shown.count("did not move") == len(TASKS)


@pytest.mark.long
def test_a_model_that_does_not_move_would_be_a_no(tmp_path):
    planted = replace(BFLOAT16, make=keras.optimizers.Adam)
    task = replace(BOSTON, epochs=10)
    assert carried_out(Plan([task], [0], (FLOAT32, planted)), tmp_path)
    shown = (tmp_path / report.REPORT).read_text(encoding="utf-8")
    assert "**No**, not in: Boston MLP, standardised inputs, Adam in bfloat16" in shown
    assert results_in(tmp_path)["tasks"][0]["variants"][1]["kept"] is False


def run_of(loss: float, own: float | None = None) -> Run:
    return Run((loss,), loss, loss if own is None else own, moved=1.0)


def summary_of(float32, bfloat16) -> TaskSummary:
    runs = {
        FLOAT32: [run_of(loss) for loss in float32],
        BFLOAT16: [run_of(loss) for loss in bfloat16],
    }
    return TaskSummary("a", "A", "nats", 1, 1, 1, 0.0, summarize(BOSTON, runs))


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ([1.049] * 3, True),
        ([0.951] * 3, True),
        ([1.051] * 3, False),
        ([0.949] * 3, False),
        ([9.0, 1.04, 0.9], True),
        ([1.06, 1.06, 0.5], False),
        ([math.nan, 1.0, 1.0], False),
        ([math.inf] * 3, False),
    ],
    ids=str,
)
def test_the_verdict_is_on_the_medians_and_on_both_sides(losses, kept):
    summary = summary_of([1.0, 1.0, 1.0], losses)
    assert summary.variants[0].kept is None
    assert summary.variants[1].kept is kept
    assert report.verdict([summary]).startswith("Yes." if kept else "**No**")


def test_float32_that_breaks_down_proves_nothing():
    assert summary_of([math.nan] * 3, [1.0] * 3).variants[1].kept is False


def test_another_verdict_in_the_own_dtype_is_said():
    runs = {FLOAT32: [run_of(1.0)], BFLOAT16: [run_of(1.04, own=1.06)]}
    summary = TaskSummary("a", "A", "nats", 1, 1, 1, 0.0, summarize(BOSTON, runs))
    assert "another verdict in: A, Adam in bfloat16" in report.verdict([summary])


def test_the_distances_are_those_of_the_same_seeds():
    compared = compare([2.0, 3.0, 5.0], [1.0, 4.0, 4.0])
    assert compared.by_seed == (1.0, -0.25, 0.25)
    assert compared.of_medians == -0.25


def test_broken_losses_are_written_as_json_and_drawn(tmp_path):
    summary = summary_of([1.0, 2.0], [math.nan, 2.0])
    results = report.Results({}, {}, (0, 1), 1, 0.0, 0.05, (summary,), ())
    assert "not finite in 1 of 2 seeds" in report.table(results)
    text = report._json(results)
    assert json.loads(text)["tasks"][0]["variants"][1]["final_losses"] == [None, 2.0]
    plots.write([summary], tmp_path)
    assert (tmp_path / plots.FINAL).read_bytes().startswith(PNG)


@pytest.mark.long
def test_ctrl_c_keeps_the_tasks_that_were_complete(tmp_path, monkeypatch):
    def train(self, seed, on_epoch):
        if self._task is not BOSTON:
            raise KeyboardInterrupt
        return run_of(1.0)

    monkeypatch.setattr(Trainer, "train", train)
    assert not carried_out(Plan(TASKS, [0], SHORT[:1]), tmp_path)
    kept = results_in(tmp_path)
    assert [task["name"] for task in kept["tasks"]] == ["boston"]
    assert kept["missing"] == [task.title for task in TASKS[1:]]
    assert "Interrupted" in (tmp_path / report.TABLE).read_text(encoding="utf-8")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_whole_model_is_in_the_dtype_and_starts_from_the_same_weights(task):
    start = initial_weights(task, 3)
    for dtype in ("bfloat16", "float16"):
        model = task.model(dtype)
        assert {w.dtype for w in model.weights} == {dtype}
        assert all(
            layer.compute_dtype == dtype for layer in model.layers if layer.weights
        )
        model.set_weights(start)
        for narrow, wide in zip(float32_weights(model), start, strict=True):
            np.testing.assert_allclose(narrow, wide, rtol=2**-8, atol=2**-24)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_data_are_the_same_at_every_call(task):
    for one, other in zip(task.data(), task.data(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_inputs_of_boston_are_standardised():
    x, _ = BOSTON.data()
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(0), 1, rtol=1e-5)


def test_the_seed_decides_the_order_and_each_epoch_has_every_row():
    rows = shuffled_rows(10, 5, 3, seed=0)
    assert rows.shape == (6, 5)
    assert all(len(np.unique(epoch)) == 10 for epoch in rows.reshape(3, 10))
    np.testing.assert_array_equal(rows, shuffled_rows(10, 5, 3, seed=0))
    assert not np.array_equal(rows, shuffled_rows(10, 5, 3, seed=1))


def test_the_share_moved_counts_elements():
    start = [np.zeros((2, 2)), np.zeros(4)]
    end = [np.array([[0.0, 1.0], [0.0, 0.0]]), np.zeros(4)]
    assert share_moved(start, end) == 1 / 8


def test_the_full_plan_is_what_is_promised():
    plan = full()
    assert len(plan.seeds) == SEEDS == 5
    promised = {(v.optimizer, v.dtype) for v in plan.variants if v.promised}
    assert promised == {
        (optimizer, dtype)
        for optimizer in ("Adam", "Momentum")
        for dtype in ("bfloat16", "float16")
    }
    assert (BUILTIN, "bfloat16") in {(v.optimizer, v.dtype) for v in plan.variants}
    assert all(task.epochs >= 1 for task in quick().tasks)


@pytest.mark.long
@pytest.mark.parametrize("quick", [False, True])
def test_a_run_writes_to_build_unless_told_where(quick, monkeypatch, results_folder):
    plan = Plan([replace(BOSTON, epochs=1)], [0], SHORT[:1], shortening=20)
    monkeypatch.setattr(plans, "quick" if quick else "full", lambda: plan)
    monkeypatch.setattr(main, "_use_tensorflow_on_the_processor", lambda: None)
    ended = CliRunner().invoke(main.app, ["precision", *["--quick"] * quick])
    assert ended.exit_code == 0
    assert ended.output.rstrip().endswith(f"the results are in {results_folder()}")
