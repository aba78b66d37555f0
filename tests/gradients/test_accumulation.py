"""Accumulating n micro-batches equals one step on the large batch.

A variable without a gradient in some of them gets the mean of what arrived: its sum,
divided by n. One without a gradient in all of them is left as it is. A row whose sum is
zero counts as absent from a lazy step.
"""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given

from keras_textbook_opt import SGD, Adam, Momentum
from tests.backends import HAS, few_on_jax, numbers
from tests.recipes import Recipe
from tests.trainer import assert_steps_follow, runs

pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist")

SPECS = (((5, 2), "float32"), ((3,), "float32"), ((), "float32"))
TABLES = (0,)
FACTORS = (1.0, 0.5, 0.0)
EMA: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5}
OPTIONS: list[dict[str, Any]] = [
    {"clipnorm": 0.5, "weight_decay": 0.25},
    {"global_clipnorm": 0.5, **EMA},
    {"clipvalue": 0.25, **EMA, "ema_overwrite_frequency": 2, "loss_scale_factor": 4.0},
]
EQUATIONS: list[tuple[type, dict]] = [
    (SGD, {}),
    (Momentum, {"nesterov": True}),
    (Adam, {"amsgrad": True}),
]
if "rows" in HAS:
    EQUATIONS += [(Adam, {"sparse_update": "lazy"})]
    EQUATIONS += [(Momentum, {"sparse_update": "lazy"})]
RECIPES = [
    Recipe(cls, own | more | {"gradient_accumulation_steps": count})
    for (cls, own), more, count in zip(
        EQUATIONS, itertools.cycle(OPTIONS), itertools.cycle([2, 3])
    )
]


@pytest.mark.parametrize("factors", [(), FACTORS], ids=["", "multiplied"])
@pytest.mark.parametrize("recipe", few_on_jax(RECIPES, slice(2, 3)), ids=str)
@given(run=runs(SPECS, TABLES, most=9, missing=(0, 1)))
def test_accumulation_equals_the_large_batch(recipe, factors, run):
    assert_steps_follow(recipe, "eager", run, SPECS, TABLES, (), factors)


def test_a_schedule_counts_micro_batches():
    """As in Keras: the rate of an update is that of its last micro-batch."""
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        [0, 1, 2], [1.0, 2.0, 4.0, 8.0]
    )
    θ = keras.Variable([0.0])
    optimizer = SGD(schedule, gradient_accumulation_steps=2)
    for expected in (0.0, -2.0, -2.0, -10.0):
        optimizer.apply([np.array([1.0], "float32")], [θ])
        assert numbers(θ).tolist() == [expected]
