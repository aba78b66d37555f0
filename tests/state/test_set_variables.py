"""`set_variables`: known variables keep their state, new ones start fresh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import SGD, Adam, Momentum
from tests.backends import numbers
from tests.histories import assign_counts, counts_of, recorded
from tests.same import assert_same
from tests.state.stores import (
    SHAPES,
    built,
    fit,
    model,
    step,
    trained,
    values,
    variables,
)

EMA: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5}
RECIPES = {
    "SGD": lambda **more: SGD(0.1, ema_overwrite_frequency=3, **EMA, **more),
    "Momentum": lambda **more: Momentum(0.1, gradient_accumulation_steps=2, **more),
    "Adam": lambda **more: Adam(0.1, amsgrad=True, **EMA, **more),
}
of_every_recipe = pytest.mark.parametrize("recipe", RECIPES)
LISTS = st.lists(
    st.lists(st.sampled_from([*SHAPES]), min_size=1, unique=True),
    min_size=2,
    max_size=4,
)


@of_every_recipe
@given(lists=LISTS, dtype=st.sampled_from(["float32", "bfloat16"]))
def test_each_variable_is_stepped_as_since_it_came(recipe: str, lists, dtype: str):
    """As by an optimizer of its own, which is new whenever the variable comes back."""
    make, arguments = RECIPES[recipe], {"weight_decay": 0.5}
    θ, twins = ({v.name: v for v in variables(dtype)} for _ in range(2))
    optimizer = make(**arguments)
    optimizer.exclude_from_weight_decay(var_list=[θ["beta"]])
    alone: dict[str, Any] = {}
    for k, names in enumerate(lists):
        here = [θ[name] for name in names]
        # A variable that is listed twice has one state.
        optimizer.set_variables([*here, here[0]]) if k else optimizer.build(here)
        for name in names:
            if name not in alone:
                alone[name] = make(**({} if name == "beta" else arguments))
                built(alone[name], [twins[name]])
                assign_counts(alone[name], counts_of(optimizer))
        alone = {name: alone[name] for name in names}
        step(optimizer, here, range(3 * k, 3 * k + 3))
        for name in names:
            step(alone[name], [twins[name]], range(3 * k, 3 * k + 3))
            assert_same(values([θ[name]]), values([twins[name]]), f"{name} of {lists}")
    optimizer.finalize_variable_values(here)
    for name in names:
        alone[name].finalize_variable_values([twins[name]])
        assert_same(values([θ[name]]), values([twins[name]]), f"average of {name}")


@of_every_recipe
def test_the_order_of_the_state_is_that_of_the_list(recipe: str):
    """Positions are what legacy `.h5` files and TensorFlow's checkpoints keep."""
    θ = variables()
    grown, at_once = (built(RECIPES[recipe](), each) for each in (θ[2:], θ))
    grown.set_variables(θ)
    own, expected = ([v.name for v in o.variables] for o in (grown, at_once))
    assert own == expected


def test_add_variables_is_deprecated_and_takes_the_whole_list():
    first, second = (trained(Adam(0.1), (θ := variables())[:2]) for _ in range(2))
    first.set_variables(θ[1:])
    with pytest.warns(DeprecationWarning, match=r"set_variables"):
        second.add_variables(θ[1:])
    assert [v.name for v in second.variables] == [v.name for v in first.variables]


def test_an_optimizer_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match=r"build"):
        Adam(0.1).set_variables(variables())


@pytest.mark.parametrize(
    "bad", [keras.Variable(1, dtype="int32", trainable=False), "a", None, 1.0]
)
def test_other_variables_are_refused_and_nothing_changes(bad):
    optimizer = built(Adam(0.1), θ := variables())
    before = [v.name for v in optimizer.variables]
    with pytest.raises(ValueError):
        optimizer.set_variables([*θ[:2], bad])
    assert [v.name for v in optimizer.variables] == before
    step(optimizer, θ)


@pytest.mark.needs("graphs")
def test_a_graph_is_refused_and_nothing_changes():
    import tensorflow as tf

    optimizer = trained(Adam(0.1), (θ := variables())[:2])
    before = values(optimizer.variables)
    with pytest.raises(ValueError, match=r"tf\.function"):
        tf.function(lambda: optimizer.set_variables(θ))()
    assert_same(values(optimizer.variables), before)
    step(optimizer, θ[:2])
    optimizer.set_variables(θ)
    step(optimizer, θ)


# Models.


CHANGES: list[Callable[[list], None]] = [
    lambda layers: setattr(layers[0], "trainable", False),
    lambda layers: setattr(layers[0], "trainable", True),
    lambda layers: layers[0].enable_lora(2),
    lambda layers: layers[1].quantize("int8"),
    lambda layers: layers[1].enable_lora(2),
]


@pytest.mark.needs("fit")
def test_a_model_trains_after_every_change(tmp_path):
    """The variables that are trainable move, the others stay, and a file continues."""
    here = fit(model(Momentum(0.01, **EMA)))
    for change in CHANGES:
        change(here.layers)
        here.optimizer.set_variables(here.trainable_variables)
        here.compile(here.optimizer, here.loss, run_eagerly=True)
        before = {id(v): numbers(v) for v in here.variables}
        fit(here)
        moved = {id(v) for v in here.variables if np.any(numbers(v) != before[id(v)])}
        assert moved == {id(v) for v in here.trainable_variables}
    here.save(tmp_path / "model.keras")
    with recorded() as said:
        fit(keras.saving.load_model(tmp_path / "model.keras"))
    assert said == []


@pytest.mark.needs("graphs")
def test_a_step_compiled_before_the_change_is_an_error_after_fit():
    """TensorFlow would continue with the graph of the old list."""
    here = model(Adam(0.01, **EMA))
    here.layers[0].trainable = False
    here.compile(here.optimizer, here.loss)
    fit(here)
    here.layers[0].trainable = True
    here.optimizer.set_variables(here.trainable_variables)
    with pytest.raises(ValueError, match=r"compile"):
        fit(here)
    here.compile(here.optimizer, here.loss)
    fit(here)


@pytest.mark.needs("jax")
def test_a_list_that_jax_was_not_given_is_an_error_that_names_set_variables():
    here = fit(model(Adam(0.01)))
    here.layers[0].trainable = False
    here.compile(here.optimizer, here.loss)
    with pytest.raises(ValueError, match=r"set_variables"):
        fit(here)
