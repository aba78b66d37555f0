"""Whatever layers, variables and slots are called, no entry of a file is lost."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keras_textbook_opt import Adam, Momentum, TextbookOptimizer
from tests.backends import BACKEND, numbers
from tests.same import assert_same

PARTS = [".", "..", "a", "b", "a#", "a#2", "a%", "%", "%2E", "names", "7", "_1", "a_1"]
SLOTS = ["average", "carry", "gradient_accumulator", "a", "slots", "names", "iteration"]
paths = st.lists(
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=3), min_size=1, max_size=6
)


class Named(TextbookOptimizer):
    """`θ ← θ − η·Σs·g`, `s ← s + 1`, with slots `s` of these names that start at 1."""

    def __init__(self, learning_rate: Any, names: list[str], **arguments: Any):
        super().__init__(learning_rate, **arguments)
        self.slot_names = names

    def create_slots(self, variables: list) -> None:
        for name in self.slot_names:
            for variable in variables:
                self.add_slot(variable, name, "ones")

    def apply_dense(self, g, θ, η, *slots):
        return θ - η * sum(slots) * g, *(s + 1 for s in slots)


def named(parts: list[str]) -> keras.Variable:
    """A variable in as many name scopes as it has parts before its name."""
    if len(parts) == 1:
        return keras.Variable(np.zeros(2), dtype="bfloat16", name=parts[0])
    with keras.name_scope(parts[0]):
        return named(parts[1:])


def values(optimizer: Any) -> list[np.ndarray]:
    return [numbers(variable) for variable in optimizer.variables]


@given(
    paths=paths,
    slots=st.lists(st.sampled_from(SLOTS), max_size=3, unique=True),
    everything=st.booleans(),
)
def test_every_entry_comes_back_to_the_bit(
    paths: list[list[str]], slots: list[str], everything: bool
):
    arguments: dict[str, Any] = (
        {"use_ema": True, "gradient_accumulation_steps": 2} if everything else {}
    )
    θ = [named(parts) for parts in paths]
    optimizer, twin = (Named(0.1, slots, **arguments) for _ in range(2))
    optimizer.build(θ)
    rng = np.random.default_rng(0)
    for variable in optimizer.variables[1:]:
        variable.assign(rng.normal(size=variable.shape))
    for variable in θ:  # no two hold the same
        variable.assign(rng.normal(size=variable.shape))
    with tempfile.TemporaryDirectory() as folder:
        with h5py.File(Path(folder) / "state.h5", "w") as file:
            optimizer.save_own_variables(file)
        twin.build(θ)
        with h5py.File(Path(folder) / "state.h5") as file:
            twin.load_own_variables(file)
    assert_same(values(twin), values(optimizer))
    twin.reset_state()
    for variable in θ:
        for name in slots:
            np.testing.assert_array_equal(twin.get_slot(variable, name), 1.0)
    ones = sum(bool(np.all(value == 1)) for value in values(twin))
    assert ones == len(slots) * len(θ)


@given(
    names=st.lists(
        st.sampled_from(["a", "a#", "a#2", "a%", "%", "names", "7", "_1", "a_1"]),
        min_size=1,
        max_size=3,
        unique=True,
    )
)
def test_a_file_of_a_model_with_such_layers_goes_on(names: list[str]):
    def model(seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        layers = [keras.layers.Dense(2, name=name) for name in names]
        made = keras.Sequential([keras.Input((2,)), *layers])
        made.compile(Adam(0.1), keras.losses.MeanSquaredError(), run_eagerly=True)
        made.optimizer.build(made.trainable_variables)
        return made

    first, second = model(1), model(2)
    rng = np.random.default_rng(0)
    θ = first.trainable_variables
    first.optimizer.apply([rng.normal(size=v.shape) for v in θ], θ)
    with tempfile.TemporaryDirectory() as folder:
        first.save_weights(Path(folder) / "of.weights.h5")
        second.load_weights(Path(folder) / "of.weights.h5")
    assert_same(values(second.optimizer), values(first.optimizer))


# Two variables of one name.

KINDS = [keras.Variable]
if BACKEND == "tensorflow":
    import tensorflow as tf

    KINDS.insert(0, tf.Variable)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("route", ["none", "config", "config and state"])
def test_of_two_of_one_name_one_is_excluded(kind: type, which: int, route: str):
    """After a load as well; its weights, or its place, say which it is."""
    θ = [kind([1.0 + k, 2.0], name="θ") for k in range(2)]
    optimizer = Momentum(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[θ[which]])
    optimizer.build(θ)
    if route != "none":
        store: dict[str, np.ndarray] = {}
        optimizer.save_own_variables(store)
        optimizer = Momentum.from_config(optimizer.get_config())
        optimizer.build(θ)
        if route == "config and state":
            optimizer.load_own_variables(store)
    assert [optimizer._use_weight_decay(v) for v in θ] == [which == 1, which == 0]
    before = [np.array(v) for v in θ]
    optimizer.apply([np.zeros(2), np.zeros(2)], θ)
    moved = [bool(np.any(np.array(v) != old)) for v, old in zip(θ, before)]
    assert moved == [which == 1, which == 0]


def test_where_it_cannot_be_known_which_is_excluded_it_is_an_error():
    """A config of an optimizer that was not built does not know the others."""
    θ = [KINDS[0]([1.0 + k], name="θ") for k in range(2)]
    optimizer = Momentum(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[θ[1]])
    restored = Momentum.from_config(optimizer.get_config())
    with pytest.raises(ValueError, match="Expected one variable like 'θ"):
        restored.build(θ)
    assert not restored.built


def test_where_all_of_one_name_are_excluded_it_is_known():
    θ = [KINDS[0]([1.0 + k], name="θ") for k in range(2)]
    optimizer = Momentum(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=θ)
    restored = Momentum.from_config(optimizer.get_config())
    restored.build(θ)
    assert not any(restored._use_weight_decay(v) for v in θ)


@given(
    trained=st.sets(st.integers(0, 3), min_size=1), excluded=st.sets(st.integers(0, 3))
)
@example(trained={1}, excluded={0})
def test_what_is_excluded_and_frozen_is_none_of_the_others(
    trained: set[int], excluded: set[int]
):
    """In a model of the same layers, which Keras has numbered anew."""

    def kernels(first: int) -> list[keras.Variable]:
        return [named([f"dense_{first + k}", "kernel"]) for k in range(4)]

    def decaying(optimizer: Momentum, θ: list[keras.Variable]) -> set[int]:
        return {k for k in trained if optimizer._use_weight_decay(θ[k])}

    θ, other = kernels(1), kernels(5)
    optimizer = Momentum(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[θ[k] for k in excluded])
    optimizer.build([θ[k] for k in sorted(trained)])
    restored = Momentum.from_config(optimizer.get_config())
    restored.build([other[k] for k in sorted(trained)])
    assert decaying(optimizer, θ) == decaying(restored, other) == trained - excluded


@pytest.mark.parametrize("of_the_run", [[], [0], [1, 2], [2]])
def test_a_file_of_another_run_changes_no_exclusion_of_a_config(of_the_run: list[int]):
    """Whose own exclusions are settings of that run."""
    θ = [keras.Variable([1.0 + k, 2.0], name=f"v{k}") for k in range(3)]

    def built(excluded: list[int]) -> Momentum:
        optimizer = Momentum(0.5, weight_decay=0.5)
        optimizer.exclude_from_weight_decay(var_list=[θ[k] for k in excluded])
        optimizer.build(θ)
        return optimizer

    store: dict[str, np.ndarray] = {}
    built(of_the_run).save_own_variables(store)
    restored = Momentum.from_config(built([2]).get_config())
    restored.build(θ)
    restored.load_own_variables(store)
    assert [restored._use_weight_decay(v) for v in θ] == [True, True, False]
