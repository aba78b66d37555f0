"""State that is loaded before `build`: visible at once, and changed by the user.

And the lists by which state is copied: `set_weights`, and TensorFlow's checkpoints.
"""

import copy
import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
from keras.optimizers.schedules import ExponentialDecay

from keras_textbook_opt import Adam, Momentum
from tests.backends import numbers
from tests.histories import named as named_by
from tests.histories import recorded
from tests.same import assert_same
from tests.state.stores import named, saved, step, trained, values, variables

OPTIMIZERS = {
    "Momentum": lambda η=0.1: Momentum(η, use_ema=True),
    "Adam": lambda η=0.1: Adam(η, amsgrad=True, gradient_accumulation_steps=2),
}
of_both = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
# How an optimizer comes to a state before it is built.
UNBUILT = {
    "load": lambda before, make: loaded(make(), saved(before)),
    "pickle": lambda before, make: pickle.loads(pickle.dumps(before)),
    "deepcopy": lambda before, make: copy.deepcopy(before),
}
on_every_way = pytest.mark.parametrize("way", UNBUILT)


def loaded(optimizer: Any, store: dict) -> Any:
    optimizer.load_own_variables(store)
    assert not optimizer.built
    return optimizer


@on_every_way
@of_both
@pytest.mark.parametrize("rate", [0.25, ExponentialDecay(0.5, 1, 0.5)])
def test_a_state_is_visible_and_saved_again_before_the_first_use(rate, make, way: str):
    before = trained(make(rate))
    optimizer = UNBUILT[way](before, partial(make, rate))
    assert int(optimizer.iterations) == int(before.iterations) > 0
    assert float(optimizer.learning_rate) == float(before.learning_rate)
    given, expected = saved(optimizer), saved(before)
    assert given.keys() == expected.keys()
    assert_same([given[name] for name in expected], [*expected.values()])


@on_every_way
@of_both
def test_the_rate_that_the_user_sets_afterwards_wins(make, way: str):
    optimizer = UNBUILT[way](trained(make()), make)
    optimizer.learning_rate = 0.5
    step(optimizer, variables())
    assert float(optimizer.learning_rate) == 0.5


@of_both
@pytest.mark.parametrize("way", [*UNBUILT, "steps"])
def test_a_reset_discards_the_state_and_keeps_the_rate(make, way: str):
    θ, expected = variables("bfloat16"), variables("bfloat16")
    before = trained(make(), variables("bfloat16"))
    optimizer = before if way == "steps" else UNBUILT[way](before, make)
    if way == "steps":
        optimizer.set_variables(θ)
    optimizer.learning_rate = 0.25
    optimizer.reset_state()
    step(optimizer, θ)
    step(other := make(0.25), expected)
    assert_same(values(θ), values(expected))
    assert_same(values(optimizer.variables), values(other.variables))


@on_every_way
def test_values_that_the_user_assigns_after_build_win(way: str):
    optimizer, θ = UNBUILT[way](trained(Momentum(0.1)), Momentum), variables()
    optimizer.build(θ)
    for variable in θ:
        slot = optimizer.get_slot(variable, "m")
        slot.assign(np.zeros(slot.shape))
    before = values(θ)
    optimizer.apply([np.zeros(v.shape, "float32") for v in θ], θ)
    assert_same(values(θ), before)


# Lists of values.


@of_both
def test_set_weights_takes_values_of_any_width(make):
    optimizer = trained(make(), θ := variables())
    weights = values(optimizer.variables)
    step(optimizer, θ)
    for count in ("int32", "int64", "uint8", "float64"):
        wide = [w.astype("float64") for w in weights[1:]]
        optimizer.set_weights([weights[0].astype(count), *wide])
        assert_same(values(optimizer.variables), weights)


@pytest.mark.parametrize("last", [[], [np.zeros(2), np.zeros(2)], [np.zeros(9)], ["x"]])
def test_set_weights_refuses_other_values_and_changes_nothing(last: list):
    optimizer = trained(Adam(0.1))
    before = values(optimizer.variables)
    with pytest.raises(ValueError):
        optimizer.set_weights([*before[:-1], *last])
    assert_same(values(optimizer.variables), before)


@pytest.mark.needs("tensorflow")
@pytest.mark.parametrize("order, ema", [("cab", False), ("cba", False), ("cab", True)])
def test_a_checkpoint_of_another_order_starts_fresh_and_is_named(order, ema, tmp_path):
    """Positions would swap states of equal shapes, or take a slot for an average."""
    import tensorflow as tf

    θ = {name: named(f"x_{name}", [ord(name)]) for name in "abc"}
    first = trained(Momentum(0.1), [θ[name] for name in "cab"])
    path = tf.train.Checkpoint(o=first).write(str(tmp_path / "checkpoint"))
    optimizer, here = Momentum(0.1, 1.0, use_ema=ema), [θ[name] for name in order]
    optimizer.build(here)
    tf.train.Checkpoint(o=optimizer).read(path)
    with recorded() as said:
        optimizer.apply([np.zeros(1, "float32")] * 3, here)
    fresh = {k for k in range(3) if ema or order[k] != "cab"[k]}
    assert named_by(said, here) == fresh
    for k, v in enumerate(here):
        expected = 0 if k in fresh else numbers(first.get_slot(v, "m"))
        np.testing.assert_array_equal(numbers(optimizer.get_slot(v, "m")), expected)
