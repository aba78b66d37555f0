"""The precision benchmark measures what it says, and its verdict can be no."""

import io
import math
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

pytest.importorskip("cpuinfo")
pytest.importorskip("matplotlib")
pytest.importorskip("typer")

from rich.console import Console

from benchmarks import curves, report, rows
from benchmarks.plan import Plan
from benchmarks.precision import command, measure, pages, plots, variants
from benchmarks.precision.command import FULL, QUICK
from benchmarks.precision.lines import distance, lines
from benchmarks.precision.measure import share_moved
from benchmarks.precision.tasks import TASKS
from benchmarks.precision.variants import BUILTIN, NARROW, PROMISED, VARIANTS
from benchmarks.training import initial_weights

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("benchmark_precision")]

PNG = b"\x89PNG\r\n\x1a\n"
BOSTON = TASKS[0]
FLOAT32, BFLOAT16 = "Adam, float32", "Adam, bfloat16"
SHORT = (FLOAT32, BFLOAT16, f"{BUILTIN}, bfloat16")


def carried_out(tasks, subjects, output: Path) -> int:
    chosen = {subject: VARIANTS[subject] for subject in subjects}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "VARIANTS", chosen)
        plan = Plan("short", tasks, [0])
        return command.carry_out(plan, output, Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def short_run(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("results")
    tasks = [replace(task, epochs=1) for task in TASKS]
    assert carried_out(tasks, SHORT, output) == 0
    return output


def test_the_pages_have_the_figures_of_the_rows_and_the_plots(short_run):
    table = (short_run / report.TABLE).read_text(encoding="utf-8")
    cells = [line for line in table.splitlines() if line.startswith("|")][2:]
    measured = lines(rows.read(short_run))
    assert len(cells) == len(measured) == len(TASKS) * len(SHORT)
    for row, line in zip(cells, measured.to_dict("records"), strict=True):
        assert line["task"].title in row and line["dtype"] in row
        assert f"{line['final'][0]:.4f}" in row
    shown = (short_run / report.REPORT).read_text(encoding="utf-8")
    for name in plots.NAMES:
        assert f"({name})" in shown
        assert (short_run / name).read_bytes().startswith(PNG)


def test_the_built_in_adam_in_bfloat16_moves_nothing_and_ours_does(short_run):
    for line in lines(rows.read(short_run)).to_dict("records"):
        moves = line["optimizer"] != BUILTIN
        assert line["moved"] > 0.5 if moves else line["moved"] == 0
    table = (short_run / report.TABLE).read_text(encoding="utf-8")
    assert table.count("| none ") == len(TASKS)


@pytest.mark.long
def test_a_model_that_does_not_move_would_be_a_no(tmp_path, monkeypatch):
    monkeypatch.setitem(variants.OPTIMIZERS, "Adam", keras.optimizers.Adam)
    assert carried_out([replace(BOSTON, epochs=10)], SHORT[:2], tmp_path) == 0
    shown = (tmp_path / report.REPORT).read_text(encoding="utf-8")
    assert "**No**, not in: Boston MLP, standardised inputs, Adam in bfloat16" in shown


def of_losses(float32, bfloat16, own=None):
    """The rows of a task that ended with these losses, by seed."""
    found = []
    for subject, losses in ((FLOAT32, float32), (BFLOAT16, bfloat16)):
        for seed, loss in enumerate(losses):
            of_own = loss if own is None else own
            for case, value in ((measure.FINAL, loss), (measure.OWN, of_own)):
                of_seed = BOSTON.name, case, subject, value, f"seed {seed}"
                found.append(curves.figure(*of_seed))
        found.append(curves.figure(BOSTON.name, measure.MOVED, subject, 1.0))
        found += measure.curve(BOSTON, subject, [np.array([loss]) for loss in losses])
    return rows.frame(found)


@pytest.mark.parametrize(
    ("losses", "near"),
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
def test_the_verdict_is_on_the_medians_and_on_both_sides(losses, near):
    measured = lines(of_losses([1.0, 1.0, 1.0], losses))
    assert measured["promised"].tolist() == [False, True]
    assert measured["near"].tolist() == [False, near]
    assert pages.verdict(measured).startswith("Yes." if near else "**No**")


def test_float32_that_breaks_down_proves_nothing():
    assert not lines(of_losses([math.nan] * 3, [1.0] * 3))["near"].any()


def test_another_verdict_in_the_own_dtype_is_said():
    measured = lines(of_losses([1.0], [1.04], own=1.06))
    assert f"another verdict in: {measured['name'][1]}" in pages.verdict(measured)


def test_the_distances_are_those_of_the_same_seeds():
    measured = lines(of_losses([1.0, 4.0, 4.0], [2.0, 3.0, 5.0]))
    assert measured["by_seed"][1].tolist() == [1.0, -0.25, 0.25]
    assert measured["from_float32"][1] == -0.25
    assert math.isnan(distance(1.0, math.inf))


def test_broken_losses_are_said_and_drawn(tmp_path):
    rows.write(of_losses([1.0, 2.0], [math.nan, 2.0]), tmp_path)
    found = rows.read(tmp_path)
    here = {"plan": "full", "seeds": [0, 1], "missing": []}
    assert "not finite in 1 of 2 seeds" in pages.table(lines(found), here)
    plots.write(found, lines(found), tmp_path)
    assert (tmp_path / plots.FINAL).read_bytes().startswith(PNG)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_whole_model_is_in_the_dtype_and_starts_from_the_same_weights(task):
    start = initial_weights(task.model, 3)
    for dtype in NARROW:
        model = task.model(dtype)
        assert {w.dtype for w in model.weights} == {dtype}
        assert all(
            layer.compute_dtype == dtype for layer in model.layers if layer.weights
        )
        model.set_weights(start)
        for narrow, wide in zip(model.get_weights(), start, strict=True):
            rounded = narrow.astype("float32")
            np.testing.assert_allclose(rounded, wide, rtol=2**-8, atol=2**-24)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_data_are_the_same_at_every_call(task):
    for one, other in zip(task.data(), task.data(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_inputs_of_boston_are_standardised():
    x, _ = BOSTON.data()
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(0), 1, rtol=1e-5)


def test_the_share_moved_counts_elements():
    start = [np.zeros((2, 2)), np.zeros(4)]
    end = [np.array([[0.0, 1.0], [0.0, 0.0]]), np.zeros(4)]
    assert share_moved(start, end) == 1 / 8


def test_the_full_plan_is_what_is_promised():
    assert len(FULL.seeds) == 5
    assert PROMISED == ("Adam", "Momentum") and NARROW == ("bfloat16", "float16")
    assert {(it, dtype) for it in PROMISED for dtype in NARROW} < {*VARIANTS.values()}
    assert (BUILTIN, "bfloat16") in VARIANTS.values()
    assert [task.epochs for task in QUICK.experiments] == [20, 1, 1]
