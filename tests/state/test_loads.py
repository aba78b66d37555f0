"""Files that fit in part: of another optimizer, another rate, other options."""

from __future__ import annotations

import gc
import warnings
import weakref
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras.optimizers.schedules import ExponentialDecay

from keras_textbook_opt import SGD, Adam, Momentum, TextbookOptimizer
from tests.backends import BACKEND, numbers
from tests.histories import recorded, saved_state, state_beside
from tests.same import assert_same
from tests.state.stores import (
    START,
    built,
    fit,
    model,
    named,
    saved,
    step,
    trained,
    values,
    variables,
)

before_or_after_build = pytest.mark.parametrize("build", [True, False])


@keras.saving.register_keras_serializable(package="test_loads")
class Own(TextbookOptimizer):
    """`θ ← θ − η·m·g`, `m ← m + 1`, with a slot that starts at 1, and a counter."""

    def __init__(self, learning_rate=0.1, counts_in="__init__", **settings):
        super().__init__(learning_rate, **settings)
        self.counts_in = counts_in
        if counts_in == "__init__":
            self.counter = self.add_variable((), name="counter")

    def build(self, variables):
        was_built = self.built
        super().build(variables)
        if self.counts_in == "build" and not was_built:
            self.counter = self.add_variable((), name="counter")

    def create_slots(self, variables):
        for variable in variables:
            self.add_slot(variable, "m", "ones")

    def apply_dense(self, g, θ, η, m):
        return θ - η * m * g, m + 1


def load(optimizer: Any, store: dict, θ: list, build: bool) -> list[str]:
    """Load before or after `build`; what the warnings said until the first use."""
    if build:
        optimizer.build(θ)
    with recorded("") as said:
        optimizer.load_own_variables(store)
        optimizer.build(θ)
        step(optimizer, θ, range(START, START + 1))
    return said


def fresh_step(optimizer: Any, θ: list, steps: int) -> list[np.ndarray]:
    """The variables after one step of a new optimizer at this number of steps."""
    optimizer.build(θ)
    optimizer.variables[0].assign(steps)
    step(optimizer, θ, range(START, START + 1))
    return values(θ)


# Another optimizer.


@before_or_after_build
@pytest.mark.parametrize(
    ("was", "here"), [(Momentum, Adam), (Adam, SGD), (Own, Momentum), (SGD, Own)]
)
def test_a_file_of_another_class_restores_the_count_and_the_rate(was, here, build):
    store = saved(trained(was(0.25)))
    optimizer, θ = here(0.5), variables()
    said = load(optimizer, store, θ, build)
    assert len(said) == 1
    assert was.__name__ in said[0]
    assert int(optimizer.iterations) == START + 1
    assert float(optimizer.learning_rate) == 0.25
    assert_same(values(θ), fresh_step(here(0.25), variables(), START))


@before_or_after_build
def test_a_file_of_a_built_in_names_from_keras_and_restores_nothing(build: bool):
    store = saved(trained(keras.optimizers.Adam(0.25)))
    optimizer, θ = Adam(0.5), variables()
    [text] = load(optimizer, store, θ, build)
    assert "Adam.from_keras(" in text
    assert int(optimizer.iterations) == 1
    assert_same(values(θ), fresh_step(Adam(0.5), variables(), 0))


@before_or_after_build
@pytest.mark.parametrize("was_a_schedule", [True, False])
def test_a_rate_of_another_kind_is_named_and_all_else_restored(was_a_schedule, build):
    rates = [0.5, ExponentialDecay(0.25, 2, 0.5)]
    if was_a_schedule:
        rates = rates[::-1]
    before = trained(Momentum(rates[0]), θ := variables())
    slots = [numbers(before.get_slot(v, "m")) for v in θ]
    optimizer = Momentum(rates[1])
    if build:
        optimizer.build(θ)
    with recorded("learning rate") as said:
        optimizer.load_own_variables(saved(before))
        optimizer.build(θ)
    assert len(said) == 1
    assert int(optimizer.iterations) == START
    expected = 0.5 if was_a_schedule else 0.25 * 0.5 ** (START / 2)
    np.testing.assert_allclose(optimizer.learning_rate, expected, rtol=1e-6)
    assert_same([numbers(optimizer.get_slot(v, "m")) for v in θ], slots)


@pytest.mark.needs("fit")
@pytest.mark.parametrize("skip_mismatch", [True, False])
@pytest.mark.parametrize("steps", [0, START])
def test_a_file_without_a_state_is_named_and_changes_nothing(
    steps: int, skip_mismatch: bool, tmp_path
):
    file = tmp_path / "of.weights.h5"
    model(None).save_weights(file)
    here = model(Adam(0.1), seed=2)
    if steps:
        fit(here)
    before = values(here.optimizer.variables)
    with pytest.warns(UserWarning, match="state"):
        here.load_weights(file, skip_mismatch=skip_mismatch)
    assert_same(values(here.optimizer.variables), before)
    fit(here)


@pytest.mark.needs("fit")
@pytest.mark.parametrize("suffix", ["keras", "h5", "weights.h5"])
def test_a_file_saved_before_the_first_step_starts_fresh_without_a_warning(
    suffix: str, tmp_path
):
    first, path = model(Adam(0.1, use_ema=True)), tmp_path / f"of.{suffix}"
    first.save_weights(path) if suffix == "weights.h5" else first.save(path)
    if suffix == "weights.h5":
        other = model(Adam(0.1, use_ema=True), seed=2)
        other.load_weights(path)
    else:
        other = keras.saving.load_model(path)
    assert_same(fit(other).get_weights(), fit(first).get_weights())


@pytest.mark.needs("fit")
@pytest.mark.parametrize("freeze_first", [True, False])
@pytest.mark.parametrize("kind", [SGD, Adam])
def test_a_frozen_base_ignores_its_saved_state(kind, freeze_first: bool, tmp_path):
    """Transfer learning: the file is that of a model that was trained whole."""
    file = tmp_path / "of.weights.h5"
    whole = fit(model(kind(0.1)))
    whole.save_weights(file)
    here = model(kind(0.1), seed=2)
    here.layers[0].trainable = not freeze_first
    here.load_weights(file)
    here.layers[0].trainable = False
    here.compile(here.optimizer, here.loss, run_eagerly=True)
    assert int(here.optimizer.iterations) == START
    here.optimizer.build(here.trainable_variables)
    if kind is Adam:
        given, expected = (
            [numbers(each.optimizer.get_slot(v, "v")) for v in each.layers[1].weights]
            for each in (here, whole)
        )
        assert_same(given, expected)
    fit(here)
    assert_same(here.layers[0].get_weights(), whole.layers[0].get_weights())


@pytest.mark.needs("fit")
def test_a_scaled_optimizer_in_a_legacy_file_starts_fresh_and_is_named(tmp_path):
    scaled = keras.optimizers.LossScaleOptimizer(Adam(0.01))
    first = fit(model(scaled))
    first.save(tmp_path / "model.h5")
    with recorded() as said:
        loaded = keras.saving.load_model(tmp_path / "model.h5")
        fit(loaded)
    assert len(said) == 1
    assert int(loaded.optimizer.inner_optimizer.iterations) <= START


@pytest.mark.needs("fit")
def test_weights_in_shards_restore_the_state(tmp_path):
    first = fit(model(Adam(0.1, amsgrad=True)))
    first.save_weights(tmp_path / "of.weights.json", max_shard_size=1200 / 1024**3)
    assert len(list(tmp_path.glob("*.h5"))) > 1
    other = model(Adam(0.1, amsgrad=True), seed=2)
    other.load_weights(tmp_path / "of.weights.json")
    assert_same(fit(other).get_weights(), fit(first).get_weights())


# Another precision.


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64:UserWarning")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_slots_are_float32_and_continue_in_any_precision(dtype: str):
    settings: dict[str, Any] = {"use_ema": True, "gradient_accumulation_steps": 2}
    store = saved(trained(Momentum(0.1, **settings)))
    optimizer, θ = Momentum(0.1, **settings), variables(dtype)
    optimizer.build(θ)
    optimizer.load_own_variables(store)
    for own, (_, state) in zip(θ, saved_state(optimizer), strict=True):
        assert {str(array.dtype) for array in state.values()} == {"float32"}
        assert np.any(numbers(optimizer.get_slot(own, "m")))


# Averages.


@pytest.mark.needs("fit")
@before_or_after_build
def test_averages_that_are_switched_on_later_start_at_the_weights(build, tmp_path):
    """At a rate of zero they are the weights, and the end of `fit` changes nothing."""
    first = fit(model(SGD(0.1)))
    first.optimizer.learning_rate = 0.0
    first.save_weights(tmp_path / "of.weights.h5")
    here = model(SGD(0.0, use_ema=True, ema_momentum=0.5), seed=2)
    if build:
        here.optimizer.build(here.trainable_variables)
    with recorded():
        here.load_weights(tmp_path / "of.weights.h5")
        fit(here)
    assert_same(here.get_weights(), first.get_weights())


def test_averages_before_the_first_step_change_nothing():
    optimizer, θ = SGD(0.1, use_ema=True), variables()
    optimizer.build(θ)
    θ[0].assign(np.ones((2, 3)))  # weights that were loaded after the build
    before = values(θ)
    optimizer.finalize_variable_values(θ)
    assert_same(values(θ), before)


@pytest.mark.needs("fit")
def test_averages_survive_a_fit_in_which_every_step_was_skipped():
    """A float16 gradient overflows, and the loss scale is halved instead of a step."""
    here = model(Adam(0.01, use_ema=True))
    scaled = keras.optimizers.LossScaleOptimizer(here.optimizer)
    here.compile(scaled, lambda y, x: keras.ops.sum(x) * 1e38, run_eagerly=True)
    before = here.get_weights()
    here.fit(np.full((4, 3), 1e30, "float32"), np.ones((4, 3)), verbose=0)
    assert int(scaled.inner_optimizer.iterations) == 0
    assert_same(here.get_weights(), before)


# Patterns and lists.

INNER = (["backbone"], ["bias", "norm", "embedding"])


@pytest.mark.needs("fit")
@pytest.mark.parametrize("steps", [0, START])
@pytest.mark.parametrize("patterns", INNER, ids=" ".join)
def test_patterns_are_applied_to_the_paths_of_a_nested_model(patterns, steps, tmp_path):
    """A loaded inner model no longer has its name in the paths of its variables."""
    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((3,)), layers.Dense(3), layers.LayerNormalization()],
        name="backbone",
    )
    x = keras.Input((3,))
    first = keras.Model(x, layers.LayerNormalization()(layers.Dense(3)(inner(x))))
    optimizer = Adam(1e-3, weight_decay=0.5, exclude_from_weight_decay=patterns)
    first.compile(optimizer, keras.losses.MeanSquaredError(), run_eagerly=True)
    if steps:
        fit(first)
    first.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.run_eagerly = True
    if steps or patterns != ["backbone"]:  # nothing else says which is which
        assert_same(fit(loaded).get_weights(), fit(first).get_weights())


@pytest.mark.needs("fit")
def test_an_excluded_list_is_lost_with_a_warning_if_saved_before_build(tmp_path):
    first = model(None)
    optimizer = Adam(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[x.bias for x in first.layers])
    first.compile(optimizer, keras.losses.MeanSquaredError(), run_eagerly=True)
    with pytest.warns(UserWarning, match="var_list"):
        first.save(tmp_path / "model.keras")
    fit(keras.saving.load_model(tmp_path / "model.keras"))


def test_names_given_to_the_method_are_in_the_config_and_a_list_is_not():
    optimizer, θ = Adam(0.1, weight_decay=0.5), variables()
    optimizer.exclude_from_weight_decay(var_list=[θ[0]], var_names=["b"])
    assert optimizer.get_config()["exclude_from_weight_decay"] == ["b"]


def test_the_factor_of_a_variable_follows_its_weights_under_the_same_patterns():
    """And is that of the patterns here if those are others."""

    def moved(factors: dict[str, float], was: str, here: str) -> float:
        before = SGD(1.0, learning_rate_multipliers={"^a": 0.25, "^b": 0.5})
        store = saved(built(before, [named(was, [2.0]), named("b", [3.0])]))
        θ = [named(here, [2.0]), named("b", [3.0])]
        optimizer = built(SGD(1.0, learning_rate_multipliers=factors), θ)
        optimizer.load_own_variables(store)
        optimizer.apply([np.ones(1, "float32"), np.ones(1, "float32")], θ)
        return float(2 - numbers(θ[0])[0])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a pattern that is found nowhere
        assert moved({"^a": 0.25, "^b": 0.5}, was="a", here="c") == 0.25
        assert moved({"^c": 0.75}, was="a", here="c") == 0.75


# A user's optimizer.


@before_or_after_build
@pytest.mark.parametrize("counts_in", ["__init__", "build"])
def test_a_variable_of_the_optimizer_itself_is_restored(counts_in: str, build: bool):
    before = trained(Own(0.1, counts_in))
    before.counter.assign(7)
    optimizer, θ = Own(0.1, counts_in), variables()
    assert load(optimizer, saved(before), θ, build) == []
    assert numbers(optimizer.counter) == 7
    np.testing.assert_array_equal(numbers(optimizer.get_slot(θ[1], "m")), START + 2.0)


PARTS = [".", "..", "a", "a#2", "%2E", "own", "document", "7", "_1", "a_1"]


@given(
    paths=st.lists(st.lists(st.sampled_from(PARTS), min_size=1, max_size=3), min_size=1)
)
def test_any_names_of_layers_and_variables_keep_their_state(paths, tmp_path_factory):
    θ = [named("/".join(parts), [float(k), 1.0]) for k, parts in enumerate(paths)]
    before, optimizer = trained(Own(0.1, use_ema=True), θ), Own(0.1, use_ema=True)
    optimizer.build(θ)
    path = tmp_path_factory.mktemp("names") / "state.h5"
    with h5py.File(path, "w") as file:
        before.save_own_variables(file)
    with h5py.File(path) as file:
        optimizer.load_own_variables(file)
    assert_same(values(optimizer.variables), values(before.variables))


# Lifetimes, and what else a state must not hinder.


@pytest.mark.parametrize("then", ["build", "step", "load"])
def test_an_optimizer_is_freed_without_the_garbage_collector(then: str):
    """So that its slots are, as those of a built-in."""
    θ = variables()

    def lives(kind: Any) -> bool:
        optimizer = built(kind(0.1), θ)
        if then == "step":
            step(optimizer, θ)
        if then == "load":
            optimizer.load_own_variables(saved(optimizer))
        reference = weakref.ref(optimizer)
        del optimizer
        return reference() is not None

    gc.disable()
    try:
        assert lives(Adam) <= lives(keras.optimizers.Adam)
    finally:
        gc.enable()


@pytest.mark.needs("tensorflow")
@pytest.mark.parametrize("way", ["export", "saved_model", "checkpoint", "save"])
def test_a_schedule_that_was_assigned_can_be_saved(way: str, tmp_path):
    import tensorflow as tf

    trained_model = fit(model(SGD(0.1)))
    trained_model.optimizer.learning_rate = ExponentialDecay(0.1, 10, 0.5)
    {
        "export": lambda path: trained_model.export(path, verbose=False),
        "saved_model": lambda path: tf.saved_model.save(trained_model, path),
        "checkpoint": lambda path: tf.train.Checkpoint(o=trained_model.optimizer).write(
            path
        ),
        "save": lambda path: trained_model.save(f"{path}.keras"),
    }[way](str(tmp_path / "saved"))


@pytest.mark.needs("jax")
def test_a_compiled_step_of_jax_starts_from_a_state_loaded_before_build(tmp_path):
    """Two programs for two models round differently."""
    first, other = (model(Adam(0.01, use_ema=True), seed=k) for k in (1, 2))
    for each in (first, other):
        each.compile(each.optimizer, each.loss, run_eagerly=False)
    fit(first).save_weights(tmp_path / "of.weights.h5")
    other.load_weights(tmp_path / "of.weights.h5")
    for own, expected in zip(fit(other).get_weights(), fit(first).get_weights()):
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6)
    given, expected = (
        state_beside(each.optimizer, each.trainable_variables)
        for each in (other, first)
    )
    for own, theirs in zip(given, expected, strict=True):
        for kind, array in own.items():
            np.testing.assert_allclose(array, theirs[kind], rtol=1e-5, atol=1e-6)
    assert BACKEND == "jax"
