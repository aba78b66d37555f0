"""The Boston housing benchmark repeats the chapter's experiments."""

from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest

pytest.importorskip("cpuinfo")
pytest.importorskip("matplotlib")

from benchmarks import rows, setting, suite
from benchmarks.boston import command, pages, train
from benchmarks.boston.data import mlp, shipped
from benchmarks.boston.experiments import (
    EXPERIMENTS,
    LIMIT,
    SAME_PATH,
    SMALLEST,
    Experiment,
)
from benchmarks.figures import BUILTIN, OURS
from benchmarks.rows import spread
from benchmarks.training import batches, initial_weights
from keras_textbook_opt import Adam

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("benchmark_boston")]

LONGEST_LINE = 80


def test_a_run_prints_80_columns_and_names_its_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(setting, "where", lambda: "here")
    short = [replace(it, epochs=2) for it in (EXPERIMENTS[0], EXPERIMENTS[-1])]
    parts: Any = {each.name: partial(command.measure, each, [0]) for each in short}
    parts[SAME_PATH] = lambda: rows.frame([spread([1e-15], part=SAME_PATH, case="")])
    suite.carry_out(parts, suite.QUICK, tmp_path)
    printed = pages.publish(tmp_path)
    table = printed.partition("Written:")[0].splitlines()
    assert max(map(len, table)) <= LONGEST_LINE
    for picture in tmp_path.glob("*.png"):
        assert f"{picture}\n" in printed
    found = rows.read(tmp_path)
    for experiment in short:
        names = {"part": experiment.name, "case": SMALLEST}
        assert set(rows.find(found, **names)["subject"]) == {OURS, BUILTIN}
        assert any(line.startswith(experiment.title) for line in table)


@pytest.mark.parametrize(
    ("difference", "left"),
    [(9e-13, "In float64"), (LIMIT, "**Not** in: b."), (np.nan, "**Not** in: b.")],
)
def test_the_verdict_names_the_pairs_that_differ(difference, left):
    pairs = {"a": 1e-15, "b": difference}
    found = rows.frame(
        spread([value], part=SAME_PATH, case=case) for case, value in pairs.items()
    )
    assert pages.verdict(found).startswith(left)


@pytest.mark.parametrize("pair", train.PAIRS, ids=lambda pair: pair.title)
def test_float32_represents_the_settings_of_a_pair(pair: Experiment):
    for value in (pair.learning_rate, *pair.settings.values()):
        assert float(np.float32(value)) == value


@pytest.mark.long
@pytest.mark.parametrize("pair", train.PAIRS, ids=lambda pair: pair.title)
def test_ours_and_the_built_in_take_the_same_path(pair):
    assert train.difference(pair) < LIMIT


def epsilon_inside(self, g, θ, η, m, v):
    m = self.beta_1 * m + (1 - self.beta_1) * g
    v = self.beta_2 * v + (1 - self.beta_2) * keras.ops.square(g)
    return θ - η * m / keras.ops.sqrt(v + self.epsilon), m, v


@pytest.mark.long
def test_an_epsilon_inside_the_root_leaves_the_path(monkeypatch):
    monkeypatch.setattr(Adam, "apply_dense", epsilon_inside)
    assert train.difference(train.PAIRS[-1]) > LIMIT


def test_the_losses_are_those_before_and_after_the_updates():
    split = shipped()
    x, y = (np.float32(each) for each in (split.x_train, split.y_train[:, None]))
    order, start = batches(x, y, 32, 10, seed=3), initial_weights(mlp, 3)
    assert [weight.shape for weight in start] == [(13, 4), (4,), (4, 1), (1,)]
    trained = train.trainer(keras.optimizers.SGD, momentum=0.98)
    run = trained.train(start, 1e-3, order)
    assert run.train_losses.shape == (10, 12) and run.test_losses.shape == (10,)
    x, y = next(order.as_numpy_iterator())
    assert run.train_losses[0, 0] == pytest.approx(loss(start, x[0], y[0]), rel=1e-5)
    last = loss(run.weights, split.x_test, split.y_test[:, None])
    assert run.test_losses[-1] == pytest.approx(last, rel=1e-5)


def loss(weights, x, y):
    kernel_1, bias_1, kernel_2, bias_2 = (weight.astype(float) for weight in weights)
    hidden = np.maximum(x @ kernel_1 + bias_1, 0)
    return np.mean(np.square(hidden @ kernel_2 + bias_2 - y))
