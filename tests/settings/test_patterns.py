"""Patterns in the paths of variables: rates for layers, exclusions from weight decay.

A pattern is text to find anywhere in `variable.path`. `*` stands for any characters,
`^` for the start of the path and `$` for its end.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops
from keras.optimizers import schedules

from keras_textbook_opt import SGD, Adam, Momentum
from tests.backends import numbers
from tests.state.stores import named
from tests.trainer import kept


def variables(paths: list[str]) -> list[keras.Variable]:
    """Variables that are 1, with these paths."""
    found = [named(path, 1.0) for path in paths]
    assert [v.path for v in found] == paths
    return found


def factors(optimizer: Any, paths: list[str]) -> list[float]:
    """How far each variable moves in a step of rate 1 on gradients of 1."""
    θ = variables(paths)
    optimizer.apply([1.0] * len(θ), θ)
    return [1.0 - float(numbers(v)) for v in θ]


def decaying(optimizer: Any, θ: list[keras.Variable]) -> list[bool]:
    """Which of the variables, all 1, move in a step on gradients of zero."""
    optimizer.apply([ops.zeros(()) for _ in θ], θ)
    return [float(numbers(v)) != 1.0 for v in θ]


FOUND = [
    ("kernel", "model/dense/kernel", True),
    ("dense", "model/dense_1/kernel", True),
    ("/dense/", "model/dense_1/kernel", False),
    ("^dense", "model/dense/kernel", False),
    ("^model/dense", "model/dense/kernel", True),
    ("kernel$", "dense/kernel", True),
    ("kernel$", "dense/kernel_1", False),
    ("^dense/kernel$", "dense/kernel", True),
    ("block_*/bias", "encoder/block_12/attention/bias", True),
    ("^*bias$", "dense/bias", True),
    ("a*c", "ab/d", False),
    ("d.nse", "dense/kernel", False),
    ("Dense", "dense/kernel", False),
]


@pytest.mark.parametrize(("pattern", "path", "expected"), FOUND)
def test_a_pattern_is_text_found_anywhere_in_the_path(pattern, path, expected):
    paths = [path, "zzz"]
    optimizer = SGD(1.0, learning_rate_multipliers={pattern: 0.5, "zzz": 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a pattern that matches no variable
        assert factors(optimizer, paths)[0] == (0.5 if expected else 1.0)
    optimizer = SGD(1.0, weight_decay=0.5, exclude_from_weight_decay=[pattern])
    assert decaying(optimizer, variables(paths)) == [not expected, True]


NAMES = st.lists(st.text("ab_", min_size=1, max_size=3), min_size=1, max_size=3)
PARTS = st.lists(st.text("ab/_", min_size=1, max_size=3), min_size=1, max_size=3)


@given(path=NAMES.map("/".join), parts=PARTS)
def test_a_star_stands_for_any_characters(path, parts):
    place = 0
    for part in parts:
        place = path.find(part, place)
        if place < 0:
            break
        place += len(part)
    excluded = SGD(1.0, weight_decay=0.5, exclude_from_weight_decay=["*".join(parts)])
    assert decaying(excluded, variables([path, "zzz"])) == [place < 0, True]


@pytest.mark.parametrize("sign", "\\|()[]{}+?")
def test_a_regular_expression_is_refused_and_says_so(sign):
    pattern = f"a{sign}b"
    with pytest.raises(ValueError, match=r"(?s)egular expression.*Received") as refusal:
        SGD(learning_rate_multipliers={pattern: 2.0})
    assert repr(pattern) in str(refusal.value)
    with pytest.raises(ValueError, match="egular expression"):
        SGD(exclude_from_weight_decay=[pattern])
    with pytest.raises(ValueError, match="egular expression"):
        SGD().exclude_from_weight_decay(var_names=[pattern])


@given(
    names=st.lists(st.text("abc", min_size=1), min_size=1, max_size=5, unique=True),
)
@pytest.mark.filterwarnings("ignore:.learning_rate_multipliers.")
def test_the_first_pattern_found_counts_also_after_a_sorted_config(names):
    of_names = {name: float(k) for k, name in enumerate(names)}
    optimizer = SGD(1.0, learning_rate_multipliers=of_names)
    written = json.dumps(optimizer.get_config(), sort_keys=True)
    twin = SGD.from_config(json.loads(written))
    assert twin.get_config() == optimizer.get_config()
    expected = [next(f for n, f in of_names.items() if n in name) for name in names]
    for each in (optimizer, twin):
        assert list(each.learning_rate_multipliers.items()) == [*of_names.items()]
        np.testing.assert_allclose(factors(each, names), expected, rtol=1e-6)


def test_a_multiplier_that_matches_no_variable_is_warned_of():
    θ = variables(["dense/kernel", "dense/bias"])
    optimizer = SGD(1.0, learning_rate_multipliers={"kernal": 2.0, "bias": 0.5})
    with pytest.warns(UserWarning, match=r"kernal.*dense/kernel"):
        optimizer.build(θ)
    optimizer.apply([1.0, 1.0], θ)
    assert [float(numbers(v)) for v in θ] == [0.0, 0.5]


def test_multipliers_can_be_changed_after_build():
    θ = variables(["a", "b"])
    optimizer = SGD(1.0, learning_rate_multipliers={"a": 0.5})
    optimizer.apply([1.0, 1.0], θ)
    optimizer.learning_rate_multipliers = {"b": 0.25}
    optimizer.apply([1.0, 1.0], θ)
    assert [float(numbers(v)) for v in θ] == [-0.5, -0.25]


@pytest.mark.parametrize(
    "rate",
    [1.0, lambda: 1.0, schedules.PiecewiseConstantDecay([1], [1.0, 0.5])],
    ids=["float", "callable", "schedule"],
)
def test_every_kind_of_rate_is_multiplied(rate):
    optimizer = SGD(rate, learning_rate_multipliers={"a": 0.25, "c": 0.0})
    assert factors(optimizer, ["a", "b", "c"]) == [0.25, 1.0, 0.0]


# The step with multipliers.

OPTIONS: list[dict] = [
    {"clipnorm": 0.5, "weight_decay": 0.25},
    {"clipvalue": 0.5, "use_ema": True, "ema_overwrite_frequency": 2},
    {"gradient_accumulation_steps": 2, "weight_decay": 0.25, "compensate": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options)))
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_factor_of_zero_changes_nothing_to_the_bit(dtype, options):
    """Not a slot, nor a carry; its average is the variable."""
    for cls in (SGD, Momentum, Adam):
        optimizer = cls(0.125, learning_rate_multipliers={"still": 0}, **options)
        θ = [
            keras.Variable([1.1, -0.3], dtype=dtype, name=n) for n in ("still", "moves")
        ]
        before = numbers(θ[0])
        for _ in range(4):
            optimizer.apply([ops.cast([0.7, 3.1], dtype)] * 2, θ)
        np.testing.assert_array_equal(numbers(θ[0]), before)
        assert not np.array_equal(numbers(θ[1]), before)
        for kind, place in kept(optimizer, θ[0]).items():
            if kind == "average":
                held = np.asarray(before, place.dtype)
                np.testing.assert_array_equal(numbers(place), held)
            elif "accumulator" not in kind:
                assert not numbers(place).any()


# Exclusions from weight decay.


@pytest.mark.parametrize("way", ["argument", "method", "config", "to_keras"])
def test_exclusions_from_weight_decay_hold(way):
    paths = ["embedding/embeddings", "norm/gamma", "dense/kernel", "dense/bias"]
    patterns = ["bias", "norm", "embedding"]
    argument: dict[str, Any] = {"exclude_from_weight_decay": patterns}
    optimizer = SGD(0.5, weight_decay=0.5, **({} if way == "method" else argument))
    if way == "method":
        for _ in range(2):  # as each replica may
            optimizer.exclude_from_weight_decay(var_names=patterns)
    if way in ("config", "method"):
        optimizer = SGD.from_config(optimizer.get_config())
    θ = variables(paths)
    if way == "to_keras":
        optimizer.build(θ)
        optimizer = optimizer.to_keras()
    assert decaying(optimizer, θ) == [False, False, True, False]


def test_patterns_and_a_list_of_variables_add_up_and_are_in_the_config():
    a, b, c = (keras.Variable(1.0, name=name) for name in ("a", "b", "aa"))
    optimizer = SGD(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[a], var_names=["b"])
    twin = SGD.from_config(optimizer.get_config())
    twin.apply([0.0] * 3, [a, b, c])
    assert [*map(float, map(numbers, (a, b, c)))] == [1.0, 1.0, 0.75]


def test_exclusions_cannot_change_after_build():
    bias = keras.Variable([1.0], name="bias")
    optimizer = SGD(0.1, weight_decay=0.5)
    optimizer.build([bias])
    for arguments in ({"var_names": ["bias"]}, {"var_list": [bias]}):
        with pytest.raises(ValueError, match="built"):
            optimizer.exclude_from_weight_decay(**arguments)
    optimizer.exclude_from_weight_decay()  # the same as before
    optimizer.apply([[0.0]], [bias])
    assert numbers(bias)[0] < 1


@pytest.mark.parametrize(
    "bad", [{"var_names": n} for n in ("bias", [3])] + [{"var_list": ["bias"]}], ids=str
)
def test_something_else_than_a_pattern_or_a_variable_is_refused(bad):
    optimizer = SGD(0.1, weight_decay=0.5)
    with pytest.raises(ValueError, match=r"(?s)Received: "):
        optimizer.exclude_from_weight_decay(**bad)
