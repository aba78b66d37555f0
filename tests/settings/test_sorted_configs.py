"""A config may be sorted by its keys, as JSON stores do: no order of keys counts."""

from __future__ import annotations

import json
from typing import Any

import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import SGD, Adam, Momentum

of_each_optimizer = pytest.mark.parametrize("cls", [SGD, Momentum, Adam])
of_both = pytest.mark.parametrize("built", [False, True], ids=["config", "built"])
NAMES = st.lists(st.text("abc", min_size=1), min_size=1, max_size=5, unique=True)


def sorted_twin(optimizer: Any) -> Any:
    written = json.dumps(optimizer.get_config(), sort_keys=True)
    twin = type(optimizer).from_config(json.loads(written))
    assert twin.get_config() == optimizer.get_config()
    return twin


def variables(names: list[str]) -> list[keras.Variable]:
    return [keras.Variable(0.0, name=name) for name in names]


@of_both
@of_each_optimizer
@given(names=NAMES)
def test_the_first_pattern_still_counts(cls, built, names):
    factors = {name: float(k) for k, name in enumerate(names)}
    optimizer = cls(learning_rate_multipliers=factors)
    if built:
        optimizer.build(variables(names))
    twin = sorted_twin(optimizer)
    assert list(twin.learning_rate_multipliers.items()) == list(factors.items())
    optimizer.build(variables(names))
    twin.build(θ := variables(names))
    expected = [beside.factor for beside in optimizer._state.beside.values()]
    assert [twin._beside(v).factor for v in θ] == expected


@of_each_optimizer
@given(data=st.data())
def test_the_same_variables_do_not_decay(cls, data):
    """Those of other models in front have other numbers, in the same order."""
    count, others = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    excluded = data.draw(st.sets(st.integers(0, count - 1)))
    here, there = (
        variables([f"dense_{k}" for k in range(first, first + count)])
        for first in (1, 1 + others)
    )
    optimizer = cls(weight_decay=0.1)
    optimizer.exclude_from_weight_decay([here[k] for k in excluded])
    optimizer.build(here)
    twin = sorted_twin(optimizer)
    twin.build(there)
    expected = [k not in excluded for k in range(count)]
    assert [bool(twin._use_weight_decay(v)) for v in there] == expected
