"""Files that fit in part: another optimizer, another rate, none, or other layers."""

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
from tests.backends import numbers
from tests.histories import recorded
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
    """Load before or after `build` and take a step; what the warnings said."""
    if build:
        optimizer.build(θ)
    with recorded("") as said:
        optimizer.load_own_variables(store)
        step(optimizer, θ, range(START, START + 1))
    return said


def after_a_fresh_step(optimizer: Any, steps: int) -> list[np.ndarray]:
    """Variables after one step of a new optimizer that has this number of steps."""
    built(optimizer, θ := variables()).variables[0].assign(steps)
    step(optimizer, θ, range(START, START + 1))
    return values(θ)


@before_or_after_build
@pytest.mark.parametrize(
    ("was", "here"), [(Momentum, Adam), (Adam, SGD), (Own, Momentum), (SGD, Own)]
)
def test_a_file_of_another_class_restores_the_count_and_the_rate(was, here, build):
    optimizer, θ = here(0.5), variables()
    [said] = load(optimizer, saved(trained(was(0.25))), θ, build)
    assert was.__name__ in said
    assert int(optimizer.iterations) == START + 1
    assert float(optimizer.learning_rate) == 0.25
    assert_same(values(θ), after_a_fresh_step(here(0.25), START))


@before_or_after_build
def test_a_file_of_a_built_in_names_from_keras_and_restores_nothing(build: bool):
    store, θ = saved(trained(keras.optimizers.Adam(0.25))), variables()
    [said] = load(Adam(0.5), store, θ, build)
    assert "Adam.from_keras(" in said
    assert_same(values(θ), after_a_fresh_step(Adam(0.5), 0))


@before_or_after_build
@pytest.mark.parametrize("was_a_schedule", [True, False])
def test_a_rate_of_another_kind_is_named_and_all_else_restored(was_a_schedule, build):
    rates = [0.5, ExponentialDecay(0.25, 2, 0.5)]
    was, here = reversed(rates) if was_a_schedule else rates
    before, optimizer = trained(Momentum(was), θ := variables()), Momentum(here)
    slots = [numbers(before.get_slot(v, "m")) for v in θ]
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


@before_or_after_build
@pytest.mark.parametrize("kind, here", [(SGD, SGD), (Adam, Adam), (SGD, Adam)])
def test_averages_start_at_the_variables_if_the_file_has_none(kind, here, build: bool):
    """Also if Keras reads the state between its load and that of the weights."""
    before, θ = trained(kind(0.1), source := variables()), variables()
    optimizer, old = here(0.1, use_ema=True), values(source)
    if build:
        optimizer.build(θ)
    with recorded(""):
        optimizer.load_own_variables(saved(before))
        assert optimizer.variables
        for variable, value in zip(θ, old):
            variable.assign(value)
        step(optimizer, θ, range(START, START + 1))
    expected = [0.99 * x + 0.01 * y for x, y in zip(old, values(θ))]
    optimizer.finalize_variable_values(θ)
    for average, x in zip(values(θ), expected):
        np.testing.assert_allclose(average, x, rtol=1e-6)


@pytest.mark.needs("fit")
@pytest.mark.parametrize("skip_mismatch", [True, False])
@pytest.mark.parametrize("steps", [0, START])
def test_a_file_without_a_state_is_named_and_changes_nothing(
    steps: int, skip_mismatch: bool, tmp_path
):
    file, here = tmp_path / "of.weights.h5", model(Adam(0.1), seed=2)
    model(None).save_weights(file)
    if steps:
        fit(here)
    before = values(here.optimizer.variables)
    with pytest.warns(UserWarning, match="no state"):
        here.load_weights(file, skip_mismatch=skip_mismatch)
    assert_same(values(here.optimizer.variables), before)
    fit(here)


@pytest.mark.needs("fit")
@pytest.mark.parametrize("suffix", ["keras", "h5", "weights.h5"])
def test_a_file_saved_before_the_first_step_starts_fresh_without_a_warning(
    suffix: str, tmp_path
):
    """Nothing is lost."""
    first, other = (model(Adam(0.1, use_ema=True), seed=k) for k in (1, 2))
    if suffix == "weights.h5":
        first.save_weights(tmp_path / "of.weights.h5")
        other.load_weights(tmp_path / "of.weights.h5")
    else:
        first.save(tmp_path / f"model.{suffix}")
        other = keras.saving.load_model(tmp_path / f"model.{suffix}")
    pairs = zip(fit(other).get_weights(), fit(first).get_weights(), strict=True)
    for one, expected in pairs:
        # Keras compiles the model of an `.h5` file to a program of its own on JAX.
        np.testing.assert_allclose(one, expected, rtol=2e-7)


@pytest.mark.needs("pairs")  # JAX cannot continue then, with a built-in neither
@pytest.mark.needs("fit")
def test_a_scaled_optimizer_in_a_legacy_file_starts_fresh_and_warns(tmp_path):
    first = fit(model(keras.optimizers.LossScaleOptimizer(Adam(0.01))))
    first.save(tmp_path / "model.h5")
    with recorded() as said:
        fit(keras.saving.load_model(tmp_path / "model.h5"))
    assert len(said) == 1


# Patterns, and lists of variables.


@pytest.mark.needs("fit")
def test_a_list_of_excluded_variables_saved_before_build_warns(tmp_path):
    first, optimizer = model(None), Adam(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[x.bias for x in first.layers])
    first.compile(optimizer, keras.losses.MeanSquaredError(), run_eagerly=True)
    with pytest.warns(UserWarning, match="var_list"):
        first.save(tmp_path / "model.keras")
    fit(keras.saving.load_model(tmp_path / "model.keras"))


@pytest.mark.parametrize("grows", [False, True])
def test_the_factor_of_a_variable_follows_its_weights_under_the_same_patterns(grows):
    """And is that of the patterns here if those are others."""

    def moved(factors: dict[str, float]) -> float:
        before = SGD(1.0, learning_rate_multipliers={"^a": 0.25, "^b": 0.5})
        store = saved(built(before, [named("a", [2.0]), named("b", [3.0])]))
        θ = [named("c", [2.0]), named("b", [3.0])]
        optimizer = built(SGD(1.0, learning_rate_multipliers=factors), θ)
        optimizer.load_own_variables(store)
        if grows:
            optimizer.set_variables(θ := [*θ, named("d", [4.0])])
        optimizer.apply([np.ones(1, "float32")] * len(θ), θ)
        return float(2 - numbers(θ[0])[0])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a pattern that is found nowhere
        assert moved({"^a": 0.25, "^b": 0.5}) == 0.25
        assert moved({"^c": 0.75}) == 0.75


# A user's optimizer, and any names.


@before_or_after_build
@pytest.mark.parametrize("counts_in", ["__init__", "build"])
def test_a_variable_of_the_optimizer_itself_is_restored(counts_in: str, build: bool):
    """Also from a file that an optimizer wrote which had loaded it before `build`."""
    before = trained(Own(0.1, counts_in))
    before.counter.assign(7)
    (between, optimizer), θ = (Own(0.1, counts_in) for _ in range(2)), variables()
    between.load_own_variables(saved(before))
    assert load(optimizer, saved(between), θ, build) == []
    assert numbers(optimizer.counter) == 7
    np.testing.assert_array_equal(numbers(optimizer.get_slot(θ[1], "m")), START + 2.0)
    store, damaged = saved(before) | {"own.counter": np.ones(())}, Own(0.1, counts_in)
    with pytest.raises(ValueError, match=r"corrupted: entry 'own.counter'"):
        damaged.load_own_variables(store)
    assert int(damaged.iterations) == 0


PARTS = [".", "..", "a", "a#2", "%2E", "own", "document", "7", "_1", "a_1"]
PATHS = st.lists(st.sampled_from(PARTS), min_size=1, max_size=3)


@given(paths=st.lists(PATHS, min_size=1, max_size=6))
def test_any_names_of_layers_and_variables_keep_their_state(paths, tmp_path_factory):
    θ = [named("/".join(parts), [float(k), 1.0]) for k, parts in enumerate(paths)]
    before, optimizer = trained(Own(0.1), θ), built(Own(0.1), θ)
    path = tmp_path_factory.mktemp("names") / "state.h5"
    with h5py.File(path, "w") as file:
        before.save_own_variables(file)
    with h5py.File(path) as file:
        optimizer.load_own_variables(file)
    assert_same(values(optimizer.variables), values(before.variables))


@pytest.mark.parametrize("then", ["build", "step", "load"])
def test_an_optimizer_is_freed_without_the_garbage_collector(then: str):
    """Its slots as well, as those of a built-in."""
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
