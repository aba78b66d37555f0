"""`OptimizerMonitor` in `fit`, against the same training in float64 NumPy."""

from __future__ import annotations

import copy
import csv
import gc
import pickle
import re
from typing import Any

import keras
import numpy as np
import pytest

from keras_textbook_opt import SGD, Adam
from keras_textbook_opt.callbacks import OptimizerMonitor
from tests.backends import BACKEND, LONG, numbers
from tests.processes import ROOT
from tests.same import assert_hold_the_same

pytestmark = pytest.mark.needs("fit")

BATCH, EPOCHS, FEATURES = 4, 2, 3
RNG = np.random.default_rng(7)
X = RNG.normal(size=(24, FEATURES)).astype("float32")
Y = (X @ np.array([[2.0], [-1], [0.5]]) + 1).astype("float32")
CLIPS: list[dict[str, float]] = [
    {},
    {"clipnorm": 2.0},
    {"global_clipnorm": 2.5},
    {"clipvalue": 1.5},
]
WAYS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "eager": {"run_eagerly": True},
}
if BACKEND != "torch":
    WAYS |= {"jit": {"jit_compile": True}, "3 steps a call": {"steps_per_execution": 3}}
# Each is a compilation, and JAX compiles what runs eagerly piece by piece: the others
# are long.
QUICK = [
    *((clip, "as it comes") for clip in CLIPS),
    (CLIPS[2], "3 steps a call"),
    (CLIPS[2], "jit" if BACKEND == "jax" else "eager"),
]
CASES = [
    pytest.param(clip, way, marks=[] if (clip, way) in QUICK else LONG)
    for clip in CLIPS
    for way in WAYS
]


def model_with(optimizer: Any, **way: Any) -> keras.Model:
    """A linear model that starts at zero."""
    layer = keras.layers.Dense(1, kernel_initializer="zeros", name="line")
    model = keras.Sequential([keras.Input((FEATURES,)), layer])
    model.compile(optimizer, "mse", **way)
    return model


def fit(model: keras.Model, *callbacks: Any, epochs: int = EPOCHS, **more: Any) -> Any:
    arguments = {"batch_size": BATCH, "shuffle": False, "verbose": 0} | more
    return model.fit(X, Y, epochs=epochs, callbacks=list(callbacks), **arguments)


def by_hand(clip: dict[str, float], every: int = 1) -> list[dict[str, float]]:
    """What each step of `SGD(0.1, **clip)` does, in float64."""
    kernel, bias = np.zeros((FEATURES, 1)), np.zeros(1)
    steps: list[dict[str, float]] = []
    collected: list = []
    for k in range(EPOCHS * len(X) // BATCH):
        x, y = (a[k * BATCH % len(X) :][:BATCH].astype(np.float64) for a in (X, Y))
        error = 2 * (x @ kernel + bias - y) / BATCH
        collected.append([x.T @ error, error.sum(0)])
        if len(collected) < every:
            continue
        g = [np.mean(column, axis=0) for column in zip(*collected)]
        collected = []
        norms = [np.linalg.norm(each) for each in g]
        total = np.linalg.norm(norms)
        step: dict[str, Any] = {
            "grad_norm": total,
            "learning_rate": 0.1,
            "grad_norm/line/kernel": norms[0],
            "grad_norm/line/bias": norms[1],
        }
        for name, c in clip.items():
            if name == "clipnorm":
                step["clip_fraction"] = np.mean([n > c for n in norms])
                g = [each * min(1, c / n) for each, n in zip(g, norms)]
            elif name == "global_clipnorm":
                step["clip_fraction"] = total > c
                g = [each * min(1, c / total) for each in g]
            else:
                step["clip_fraction"] = max(np.abs(each).max() for each in g) > c
                g = [np.clip(each, -c, c) for each in g]
        old = np.concatenate([kernel.ravel(), bias])
        kernel, bias = kernel - 0.1 * g[0], bias - 0.1 * g[1]
        change = np.concatenate([kernel.ravel(), bias]) - old
        with np.errstate(divide="ignore"):
            step["update_ratio"] = np.linalg.norm(change) / np.linalg.norm(old)
        steps.append(step)
    return steps


class Recorder(keras.callbacks.Callback):
    """The logs that a callback behind the monitor gets."""

    def __init__(self):
        super().__init__()
        self.batches: list[dict] = []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(dict(logs))


def short(key: str) -> str:
    """Without the name of the model."""
    return "grad_norm/" + "/".join(key.split("/")[-2:]) if "/" in key else key


@pytest.mark.parametrize(("clip", "way"), CASES, ids=str)
def test_batches_epochs_and_history_are_those_of_float64(clip, way):
    model = model_with(SGD(0.1, **clip), **WAYS[way])
    monitor, recorder = OptimizerMonitor(True, per_variable=True), Recorder()
    epochs = fit(model, monitor, recorder).history
    steps = by_hand(clip)
    found = {short(key): values for key, values in monitor.history.items()}
    assert found.keys() == steps[0].keys()
    for key, values in found.items():
        expected = [step[key] for step in steps]
        np.testing.assert_allclose(values, expected, rtol=2e-5, err_msg=key)
    per_call = WAYS[way].get("steps_per_execution", 1)
    for k, logs in enumerate(recorder.batches):
        of_batch = steps[k * per_call :][:per_call]
        assert logs["nonfinite_steps"] == 0
        for key, value in logs.items():
            if short(key) in steps[0]:
                mean = np.mean([step[short(key)] for step in of_batch])
                np.testing.assert_allclose(value, mean, rtol=2e-5, err_msg=key)
    per_epoch = len(steps) // EPOCHS
    for key, values in epochs.items():
        each = [steps[e * per_epoch :][:per_epoch] for e in range(EPOCHS)]
        if short(key) in steps[0]:
            means = [np.mean([step[short(key)] for step in e]) for e in each]
            np.testing.assert_allclose(values, means, rtol=2e-5, err_msg=key)
    largest = [max(step["grad_norm"] for step in e) for e in each]
    np.testing.assert_allclose(epochs["grad_norm_max"], largest, rtol=2e-5)
    assert epochs["nonfinite_steps"] == [0, 0]
    assert set(map(short, epochs)) == {
        *steps[0],
        *("loss", "grad_norm_max", "nonfinite_steps"),
    }


def test_a_batch_that_only_accumulates_shows_the_last_step():
    model = model_with(SGD(0.1, clipnorm=2.0, gradient_accumulation_steps=3))
    monitor, recorder = OptimizerMonitor(), Recorder()
    fit(model, monitor, recorder)
    norms = [step["grad_norm"] for step in by_hand({"clipnorm": 2.0}, every=3)]
    np.testing.assert_allclose(monitor.history["grad_norm"], norms, rtol=2e-5)
    shown = [logs.get("grad_norm") for logs in recorder.batches]
    assert shown[:2] == [None, None]
    expected = np.repeat(norms, 3)[: len(shown) - 2]
    np.testing.assert_allclose(np.array(shown[2:], float), expected, rtol=2e-5)


def test_the_rate_is_that_of_the_step_taken():
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    model, monitor = model_with(SGD(rate)), OptimizerMonitor()
    history = fit(model, monitor).history
    expected = 0.1 * 0.5 ** np.arange(12)
    np.testing.assert_allclose(monitor.history["learning_rate"], expected, rtol=1e-5)
    np.testing.assert_allclose(history["learning_rate"], expected[5::6], rtol=1e-5)


def test_the_progress_bar_and_a_file_of_csv_have_the_numbers(tmp_path, capsys):
    model, monitor = model_with(SGD(0.1, clipnorm=2.0)), OptimizerMonitor()
    logger = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    history = fit(model, monitor, logger, verbose=1).history
    said = capsys.readouterr().out
    for key in ("grad_norm", "clip_fraction", "nonfinite_steps", "grad_norm_max"):
        assert f"{key}: " in said
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    for key, values in history.items():
        assert [float(row[key]) for row in rows] == values


@pytest.mark.parametrize(
    "make", [lambda: SGD(0.1), lambda: Adam(0.1, global_clipnorm=1.0)], ids=["", "clip"]
)
def test_a_training_that_is_watched_is_the_same_training_to_the_bit(make):
    watched, alone = model_with(make()), model_with(make())
    monitor = OptimizerMonitor(True, True)
    before = len(watched.optimizer.variables) if watched.optimizer.built else None
    for epochs in (1, 2):
        fit(watched, monitor, epochs=epochs)
        assert "grad_norm" not in fit(watched, epochs=1).history
        fit(alone, epochs=epochs)
        fit(alone, epochs=1)
    assert len(monitor.history["grad_norm"]) == 3 * len(X) // BATCH
    assert before in (None, len(alone.optimizer.variables))
    assert_hold_the_same(watched, alone)


def test_a_monitor_of_other_wishes_comes_after_one():
    """On JAX, a program that was compiled for the one would be taken for the other."""
    model = model_with(SGD(0.1))
    monitors = [OptimizerMonitor(*each) for each in [(), (True,), (False, True), ()]]
    for monitor in monitors:
        fit(model, monitor, epochs=1)
        assert len(monitor.history["grad_norm"]) == len(X) // BATCH
    assert "update_ratio" in monitors[1].history
    assert len(monitors[2].history) == 4


def test_a_monitor_sees_the_variables_that_came_between_two_trainings():
    """What runs eagerly need not be compiled anew for them."""
    model = model_with(SGD(0.1), run_eagerly=True)
    monitor = OptimizerMonitor(per_variable=True)
    kernel, bias = model.trainable_variables
    model.optimizer.build([kernel])
    bias.trainable = False
    fit(model, monitor, epochs=1)
    bias.trainable = True
    model.optimizer.add_variables(model.trainable_variables)
    fit(model, monitor, epochs=1)
    counts = {path: len(norms) for path, norms in monitor.history.items()}
    steps = len(X) // BATCH
    assert counts[f"grad_norm/{kernel.path}"] == 2 * steps
    assert counts[f"grad_norm/{bias.path}"] == steps


class Save(keras.callbacks.Callback):
    def __init__(self, folder, kind):
        super().__init__()
        self.folder, self.kind = folder, kind

    def on_epoch_end(self, epoch, logs=None):
        save = self.model.save if self.kind == "keras" else self.model.save_weights
        save(self.folder / f"{epoch}.{self.kind}")


@pytest.mark.parametrize("kind", ["weights.h5", pytest.param("keras", marks=LONG)])
def test_what_is_saved_in_a_watched_training_loads_without_a_monitor(kind, tmp_path):
    model = model_with(Adam(0.1, clipnorm=2.0))
    fit(model, OptimizerMonitor(), Save(tmp_path, kind), epochs=1)
    if kind == "keras":
        loaded = keras.saving.load_model(tmp_path / "0.keras")
    else:
        loaded = model_with(Adam(0.1, clipnorm=2.0))
        loaded.optimizer.build(loaded.trainable_variables)
        loaded.load_weights(tmp_path / "0.weights.h5")
    for one in (model, loaded):
        fit(one, epochs=1)
    assert_hold_the_same(loaded, model)


def test_what_is_not_finite_is_counted_named_and_told_once():
    model, monitor = model_with(SGD(0.1)), OptimizerMonitor()
    model.get_layer("line").kernel.assign([[np.inf], [0], [0]])
    with pytest.warns(UserWarning, match="line/kernel.* is not finite") as told:
        history = fit(model, monitor).history
    assert len([w for w in told if "not finite" in str(w.message)]) == 1
    assert history["nonfinite_steps"] == [6, 6]
    assert np.isnan(history["grad_norm"]).all()
    assert monitor.first_nonfinite is not None
    assert monitor.first_nonfinite.endswith("line/kernel")
    with pytest.raises(ValueError, match="has seen steps"):
        monitor.suggest_clipnorm()


def test_the_steps_that_a_loss_scale_skips_are_counted_and_norms_are_unscaled():
    optimizer = keras.optimizers.LossScaleOptimizer(
        SGD(0.1, clipnorm=2.0), initial_scale=2.0**127
    )
    model, monitor = model_with(optimizer), OptimizerMonitor()
    history = fit(model, monitor).history
    skipped = round(127 - np.log2(float(numbers(optimizer.dynamic_scale))))
    assert skipped > 0 and sum(history["nonfinite_steps"]) == skipped
    assert len(monitor.history["grad_norm"]) == EPOCHS * len(X) // BATCH - skipped
    assert 0.5 < monitor.history["grad_norm"][0] < 50


def test_a_batch_that_a_loss_scale_skips_is_told_in_its_logs():
    """The scale doubles after each step until a gradient is infinite."""
    optimizer = keras.optimizers.LossScaleOptimizer(
        SGD(1e-6, clipnorm=2.0), initial_scale=2.0**114, dynamic_growth_steps=1
    )
    told: list[float] = []
    tell = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: told.append(logs["nonfinite_steps"])
    )
    monitor = OptimizerMonitor()
    model = model_with(optimizer)
    model.fit(X, 1000 * Y, batch_size=BATCH, verbose=0, callbacks=[monitor, tell])
    assert set(told) == {0.0, 1.0} and told[0] == 0
    assert told.count(0.0) == len(monitor.history["grad_norm"])


class Fails(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            raise RuntimeError


LATER = {
    "fit": lambda model: None,
    "make_train_function": lambda model: model.make_train_function(),
    "force": lambda model: model.make_train_function(force=True),
    "compile": lambda model: model.compile(model.optimizer, "mse"),
}


@pytest.mark.parametrize(
    "later",
    [later if later == "fit" else pytest.param(later, marks=LONG) for later in LATER],
)
def test_a_fit_after_one_that_raised_leaves_no_record(later):
    model, monitor = model_with(SGD(0.1)), OptimizerMonitor()
    model.optimizer.build(model.trainable_variables)
    held = [*model.variables, *model.optimizer.variables]
    weights = [numbers(v) for v in held]
    with pytest.raises(RuntimeError):
        fit(model, monitor, Fails())
    seen = len(monitor.history["grad_norm"])
    records = model.optimizer._state.watch.variables
    for variable, value in zip(held, weights, strict=True):
        variable.assign(value)
    LATER[later](model)
    assert "grad_norm" not in fit(model, epochs=1).history
    assert model.optimizer._state.watch is None
    assert len(monitor.history["grad_norm"]) == seen
    assert "make_train_function" not in vars(model)
    if BACKEND != "jax":  # Keras has taken what they held
        assert numbers(records[0])[0, 0] == seen
    fit(model, monitor, epochs=1)
    assert len(monitor.history["grad_norm"]) == seen + len(X) // BATCH


def test_a_second_monitor_in_a_training_is_refused_and_the_next_is_watched():
    model, monitor = model_with(SGD(0.1)), OptimizerMonitor()
    with pytest.raises(ValueError, match="one `OptimizerMonitor` in a training"):
        fit(model, monitor, OptimizerMonitor())
    assert monitor.history == {}
    assert "grad_norm" not in fit(model, epochs=1).history
    fit(model, monitor, epochs=1)
    assert len(monitor.history["grad_norm"]) == len(X) // BATCH


@pytest.mark.parametrize("kept", [True, False])
def test_a_fit_that_raises_is_watched_no_longer(kept):
    model, monitors = model_with(SGD(0.1)), [OptimizerMonitor()]
    with pytest.raises(RuntimeError):
        fit(model, monitors[0], Fails())
    if not kept:
        monitors.pop()
        gc.collect()  # an exception and its traceback may know each other
    assert (model.optimizer._state.watch is None) == (not kept)
    for monitor in (*monitors, OptimizerMonitor()):
        before = len(monitor.history.get("grad_norm", []))
        fit(model, monitor, epochs=1)
        assert len(monitor.history["grad_norm"]) - before == len(X) // BATCH
        assert model.optimizer._state.watch is None
    assert "grad_norm" not in fit(model, epochs=1).history


def test_what_cannot_be_watched_is_refused():
    model = model_with(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match="optimizer of `keras_textbook_opt"):
        fit(model, OptimizerMonitor())


def test_evaluate_and_predict_take_no_notice():
    model, monitor = model_with(SGD(0.1)), OptimizerMonitor()
    fit(model, epochs=1)
    model.evaluate(X, Y, verbose=0, callbacks=[monitor])
    model.predict(X, verbose=0, callbacks=[monitor])
    assert monitor.history == {} and model.optimizer._state.watch is None
    fit(model, monitor, epochs=1, validation_data=(X, Y))
    assert len(monitor.history["grad_norm"]) == len(X) // BATCH


def test_a_suggestion_is_the_average_and_the_90th_percentile():
    model, monitor = model_with(SGD(0.1)), OptimizerMonitor()
    fit(model, monitor)
    norms = [step["grad_norm"] for step in by_hand({})]
    expected = (np.mean(norms), np.percentile(norms, 90))
    np.testing.assert_allclose(monitor.suggest_clipnorm(), expected, rtol=2e-5)


def test_a_plot_has_the_norms_the_line_of_the_clip_and_the_rates():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    model, monitor = model_with(SGD(0.1, global_clipnorm=2.5)), OptimizerMonitor()
    with pytest.raises(ValueError, match="has seen steps"):
        monitor.plot()
    fit(model, monitor)
    figure = pickle.loads(pickle.dumps(monitor)).plot()
    above, below = figure.axes
    assert above.get_yscale() == "log"
    norms, line = above.get_lines()
    assert list(norms.get_ydata()) == monitor.history["grad_norm"]
    assert list(line.get_ydata()) == [2.5, 2.5]
    assert line.get_label() == "global_clipnorm = 2.5"
    assert list(below.get_lines()[0].get_ydata()) == monitor.history["learning_rate"]
    pyplot.close(figure)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_copy_of_a_monitor_has_what_it_has_seen_and_watches_on(copied):
    model, monitor = model_with(SGD(0.1, global_clipnorm=2.5)), OptimizerMonitor()
    fit(model, monitor)
    twin = copied(monitor)
    assert twin.history == monitor.history
    assert twin.suggest_clipnorm() == monitor.suggest_clipnorm()
    fit(model, twin)
    assert len(twin.history["grad_norm"]) == 2 * len(monitor.history["grad_norm"])


def test_a_plot_without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"keras-textbook-opt\[plot\]"):
        OptimizerMonitor().plot()


PAGE = ROOT / "docs" / "what-training-does.md"


@pytest.mark.skipif(BACKEND == "tensorflow", reason="runs with the rest of the page")
def test_the_loop_of_this_backend_in_the_documents_runs():
    title = {"jax": "JAX", "torch": "PyTorch"}[BACKEND]
    (block,) = re.findall(
        rf'^```python title="{title}"\n(.*?)^```', PAGE.read_text(), re.M | re.S
    )
    exec(compile(block, PAGE.name, "exec"), {"__name__": PAGE.name})
