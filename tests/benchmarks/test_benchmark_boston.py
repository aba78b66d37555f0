"""The Boston housing benchmark measures what it says, and its verdict can be no."""

import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest

pytest.importorskip("cpuinfo")
pytest.importorskip("matplotlib")
pytest.importorskip("typer")

from rich.console import Console
from typer.testing import CliRunner

from benchmarks import __main__ as main
from benchmarks import report, rows, setting, suite
from benchmarks.boston import command, norms, pages, plots, same_path
from benchmarks.boston.data import shipped
from benchmarks.boston.experiments import EXPERIMENTS, OTHERS, SWEEP
from benchmarks.boston.measure import (
    APART,
    BIAS,
    DEAD,
    ONE_ULP_AWAY,
    SMALLEST,
    TEST_CURVE,
    dead_units,
)
from benchmarks.boston.train import mlp, one_ulp_away, trainer
from benchmarks.figures import BUILTIN, OURS
from benchmarks.plan import Plan
from benchmarks.training import batches, initial_weights
from keras_textbook_opt import Adam, Momentum

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("benchmark_boston")]

ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG\r\n\x1a\n"
PICTURE = "gradient_norms.png"


def first_steps(experiment):
    """The experiment cut to a hundred steps, or to the first multiple of ten above."""
    return replace(experiment, epochs=100 if experiment.batch_size is None else 10)


def carried_out(experiments, folder):
    plan = Plan("short", [first_steps(each) for each in experiments], [0])
    return command.carry_out(plan, folder, Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    output = tmp_path_factory.mktemp("results")
    assert carried_out(EXPERIMENTS, output) == 0
    return output


@pytest.fixture(scope="module")
def found(short_run):
    return rows.read(short_run)


def figure(found, experiment, case, subject):
    names = {"part": experiment.name, "case": case, "subject": subject}
    return rows.median(found, **names, size="seed 0")


def test_the_table_has_the_figures_of_the_rows(short_run, found):
    table = (short_run / report.TABLE).read_text(encoding="utf-8")
    for experiment in EXPERIMENTS:
        line = next(each for each in table.splitlines() if experiment.title in each)
        assert f"{experiment.chapter:.3f}" in line
        for subject in (OURS, BUILTIN):
            loss = figure(found, experiment, SMALLEST, subject)
            assert f"{loss:.3f} ({loss:.3f} … {loss:.3f})" in line
        one_ulp = figure(found, experiment, APART, ONE_ULP_AWAY)
        assert one_ulp > 0 and f"{one_ulp:.1e}" in line


def test_the_plots_are_drawn_and_shown(short_run):
    shown = (short_run / report.REPORT).read_text(encoding="utf-8")
    for name in plots.PLOTS:
        assert f"({name})" in shown
        assert (short_run / name).read_bytes().startswith(PNG)


def test_every_pair_is_judged_in_float64(short_run, found):
    shown = (short_run / report.REPORT).read_text(encoding="utf-8")
    assert "## The same path?\n\nYes. In float64" in shown
    judged = rows.find(found, part="same path")
    assert list(judged["case"]) == [pair.title for pair in same_path.PAIRS]
    assert judged["value"].max() < same_path.LIMIT


def test_the_collapse_at_1e_3_is_shown_as_a_bias(short_run, found):
    dead, bias = (figure(found, SWEEP[-1], case, OURS) for case in (DEAD, BIAS))
    names = {"part": SWEEP[-1].name, "case": TEST_CURVE, "subject": OURS}
    last = rows.median(found, **names, size="epoch 100")
    assert dead == 4
    targets = shipped().y_test
    expected = targets.var() + (bias - targets.mean()) ** 2
    assert last == pytest.approx(expected, rel=1e-5)
    shown = (short_run / report.REPORT).read_text(encoding="utf-8")
    assert f"{bias:.6g}" in shown and "83.2438" in shown


@pytest.mark.parametrize(
    ("difference", "apart"),
    [(0.0, False), (9e-13, False), (1e-12, True), (np.nan, True)],
)
def test_the_verdict_is_no_from_the_limit_on(difference, apart):
    of_pairs = [
        rows.Row("same path", title, OURS, "tensorflow", "", 0.5, value, "")
        for title, value in (("near", 1e-15), ("judged", difference))
    ]
    judged = rows.frame(of_pairs)
    assert pages.apart(judged) == ["judged"] * apart
    said = "**No**, not in: judged. In float64" if apart else "Yes. In float64"
    assert pages.verdict(judged).startswith(said)


def test_a_pair_s_variables_are_float64_and_float32_holds_its_settings():
    for pair in same_path.PAIRS:
        for value in pair.settings.values():
            assert float(np.float32(value)) == value
        assert float(np.float32(pair.learning_rate)) == pair.learning_rate
    losses = same_path.losses(same_path.PAIRS[0], keras.optimizers.SGD)
    assert losses.dtype == "float64" and losses.shape == (same_path.STEPS,)
    assert {weight.dtype for weight in mlp("float64").weights} == {"float64"}


@pytest.mark.long
@pytest.mark.parametrize(
    ("pair", "setting"),
    [(1, "clipnorm"), (3, "momentum"), (5, "beta_1"), (5, "beta_2")],
)
def test_a_setting_that_is_off_by_1e_9_leaves_the_path(pair, setting):
    def planted(**settings):
        return honest.ours(**settings | {setting: settings[setting] * (1 + 1e-9)})

    honest = same_path.PAIRS[pair]
    assert same_path.is_apart(same_path.difference(replace(honest, ours=planted)))


def epsilon_inside(self, g, θ, η, m, v):
    m = self.beta_1 * m + (1 - self.beta_1) * g
    v = self.beta_2 * v + (1 - self.beta_2) * keras.ops.square(g)
    return θ - η * m / keras.ops.sqrt(v + self.epsilon), m, v


@pytest.mark.long
@pytest.mark.parametrize("pair", same_path.PAIRS[-2:], ids=lambda pair: pair.title)
def test_an_epsilon_inside_the_root_leaves_the_path(pair, monkeypatch):
    monkeypatch.setattr(Adam, "apply_dense", epsilon_inside)
    assert same_path.is_apart(same_path.difference(pair))


@pytest.mark.long
def test_a_path_that_is_left_is_named_and_fails_the_run(monkeypatch, tmp_path):
    momentum = same_path.PAIRS[3]
    planted = replace(momentum, ours=partial(Momentum, nesterov=True))
    monkeypatch.setattr(same_path, "PAIRS", (same_path.PAIRS[0], planted))
    assert carried_out(SWEEP[:1], tmp_path) == 1
    shown = (tmp_path / report.REPORT).read_text(encoding="utf-8")
    assert f"**No**, not in: {momentum.title}. In float64" in shown


@pytest.mark.parametrize(
    ("curve", "reference", "difference"),
    [
        ([50.0, 40.0, 3.0], [50.0, 40.0 * (1 - 3e-4), 3.0], 3e-4),
        ([1.0, np.inf, np.nan], [1.0, np.inf, np.nan], 0),
        ([1.0, 2.0], [1.0, np.nan], np.inf),
        ([1.0, np.inf], [1.0, 2.0], np.inf),
    ],
    ids=str,
)
def test_two_curves_are_as_far_apart_as_where_they_are_farthest(
    curve, reference, difference
):
    assert same_path.largest_difference(curve, reference) == pytest.approx(difference)


def test_the_curves_are_the_losses_before_and_after_the_updates():
    split = shipped()
    inputs = split.x_train.astype("float32"), split.y_train[:, None].astype("float32")
    order = batches(*inputs, 32, 10, seed=3)
    start = initial_weights(mlp, 3)
    trained = trainer(keras.optimizers.SGD, momentum=0.98)
    run = trained.train(start, 1e-3, order)
    x, y = next(order.as_numpy_iterator())
    assert x.shape == (12, 32, 13)
    assert run.train_losses.shape == (10, 12)
    assert run.train_losses[0, 0] == pytest.approx(loss(start, x[0], y[0]), rel=1e-5)
    assert run.test_losses.shape == (10,)
    assert run.test_losses[-1] == pytest.approx(
        loss(run.weights, split.x_test, split.y_test[:, None]), rel=1e-5
    )
    again = trained.train(start, 1e-3, order)
    np.testing.assert_array_equal(run.train_losses, again.train_losses)
    np.testing.assert_array_equal(run.test_losses, again.test_losses)


def test_each_epoch_draws_its_rows_anew_and_none_twice_as_the_seed_says():
    epochs = rows_of_epochs(seed=0)
    assert all(len(np.unique(epoch)) == 384 for epoch in epochs)
    assert len(np.unique(epochs, axis=0)) == 10
    np.testing.assert_array_equal(epochs, rows_of_epochs(seed=0))
    assert not np.array_equal(epochs, rows_of_epochs(seed=1))


def test_one_ulp_away_is_the_next_float32():
    weights = initial_weights(mlp, 0)
    moved = one_ulp_away(weights)
    for weight, neighbour in zip(weights[::2], moved[::2], strict=True):
        np.testing.assert_array_max_ulp(neighbour, weight, maxulp=1)
        assert (neighbour > weight).all()
    for bias, same in zip(weights[1::2], moved[1::2], strict=True):
        np.testing.assert_array_equal(bias, same)


def test_dead_units_are_0_on_every_row():
    rows = np.array([[1.0, 0.0], [0.0, 1.0]])
    kernel = np.array([[1, -1, -1, 0], [-1, -1, 2, 0]], "float32")
    bias = np.array([0, 0.5, -3, 0], "float32")
    assert dead_units([kernel, bias], rows) == 3
    assert dead_units([kernel, bias + 1], rows) == 1


def test_the_network_is_the_chapter_s():
    shapes = [weight.shape for weight in mlp().get_weights()]
    assert shapes == [(13, 4), (4,), (4, 1), (1,)]


def test_make_writes_to_the_committed_results_only_for_results():
    def said(*targets):
        command = ["make", "--dry-run", "--no-print-directory", *targets]
        return subprocess.run(
            command, cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout

    quick = said("benchmark-quick", "QUICK_OUTPUT=/elsewhere/new")
    assert "boston --quick --output '/elsewhere/new'" in quick
    targets = [
        f"benchmark{each}"
        for each in ("", "-quick", "-steps", "-precision", "-workers")
    ]
    assert "benchmarks/results" not in said(*targets)
    renewed = said("results")
    for name in ("boston", "steps", "precision", "workers", "conformance"):
        folder = f"benchmarks/results/{name}"
        assert f"-m benchmarks {name} --output {folder}" in renewed
    assert renewed.rstrip().endswith("-m benchmarks readme")


@pytest.fixture
def heeding_ctrl_c():
    """In the background, a shell has its commands ignore the signal, and theirs too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.long
def test_ctrl_c_keeps_the_experiments_that_were_complete(tmp_path, heeding_ctrl_c):
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "boston", "--quick", "--output", tmp_path],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    wait_for(SWEEP[0].title, process.stderr)
    process.send_signal(signal.SIGINT)
    table, log = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in log
    assert "Interrupted: " in log.splitlines()[-1]
    missing = setting.read(tmp_path)[suite.RUN]["missing"]
    kept = set(rows.read(tmp_path)["part"]) - {"same path"}
    assert SWEEP[0].name in kept and missing[-1] == OTHERS[-1].title
    assert len(kept) + len(missing) == len(EXPERIMENTS)
    assert f"Missing: {missing[0]}" in table


def rows_of_epochs(seed):
    """The numbers of the rows in the batches of ten epochs, an epoch a line."""
    numbers = np.arange(404.0)
    order = batches(numbers, numbers, 32, 10, seed).as_numpy_iterator()
    return np.stack([rows.ravel() for _, rows in order])


def wait_for(text, stream):
    for line in stream:
        if text in line:
            return
    pytest.fail(f"the run ended before it said {text!r}")


def loss(weights, x, y):
    kernel_1, bias_1, kernel_2, bias_2 = (weight.astype(float) for weight in weights)
    hidden = np.maximum(x @ kernel_1 + bias_1, 0)
    return np.mean(np.square(hidden @ kernel_2 + bias_2 - y))


def test_the_picture_of_the_norms_is_on_a_page_with_the_command_that_draws_it():
    page = (ROOT / "docs" / "what-training-does.md").read_text(encoding="utf-8")
    assert f"]({PICTURE})" in page and "benchmarks norms --output docs`" in page
    assert (ROOT / "docs" / PICTURE).read_bytes().startswith(PNG)
    assert "benchmarks norms --output docs\n" in (ROOT / "Makefile").read_text()


@pytest.mark.long
def test_the_command_for_norms_draws_them(tmp_path, monkeypatch):
    monkeypatch.setattr(norms, "SEEDS", range(1))
    monkeypatch.setattr(norms, "write", partial(norms.write, steps=2))
    ended = CliRunner().invoke(main.app, ["norms", "--output", str(tmp_path)])
    assert ended.exit_code == 0 and ended.stdout.strip() == str(tmp_path / PICTURE)
    assert (tmp_path / PICTURE).read_bytes().startswith(PNG)


@pytest.mark.long
@pytest.mark.parametrize("clip", [{}, {"clipnorm": norms.CLIPNORM}], ids=str)
def test_norms_are_those_of_float64(clip):
    split = shipped()
    kernel, bias, last, end = map(np.float64, initial_weights(mlp, 0))
    x, y = np.float64(split.x_train), np.float64(split.y_train).reshape(-1, 1)
    hidden = np.maximum(x @ kernel + bias, 0)
    error = 2 * (hidden @ last + end - y) / len(x)
    back = error @ last.T * (hidden > 0)
    gradient = [x.T @ back, back.sum(0), hidden.T @ error, error.sum(0)]
    expected = np.sqrt(sum(np.sum(np.square(g)) for g in gradient))
    np.testing.assert_allclose(norms.norms(0, 1, **clip), [expected], rtol=1e-4)
