"""The formulas of what a step costs, on cases computed by hand, and on optimizers."""

from __future__ import annotations

from functools import partial

import keras
import pytest

from benchmarks.workers import model
from keras_textbook_opt import SGD, Adam, Momentum

pytestmark = pytest.mark.once


def test_what_travels():
    assert model.dense_sum(2, 100) == 800
    assert model.dense_sum(4, 100) == 2_400
    assert model.sum_of_rows(2, 64, 16) == 2 * (64 * 68 + 4)
    assert model.sum_of_rows(3, 1, 1) == 6 * 12
    assert model.dense_sum(1, 100) == model.sum_of_rows(1, 64, 16) == 0


def test_rows_cost_more_than_the_dense_sum_from_the_crossover_on():
    touched = model.crossover(4, 10_000, 16)
    assert touched == 2 * 10_000 * 16 / (17 * 4)
    dense = model.dense_sum(4, 160_000)
    assert model.sum_of_rows(4, int(0.99 * touched), 16) < dense
    assert model.sum_of_rows(4, int(1.01 * touched), 16) > dense


def test_seconds():
    assert model.seconds(25e9, 12.5e9) == 2.0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("SGD", SGD),
        ("Momentum", Momentum),
        ("Adam", Adam),
        ("Adam, amsgrad", partial(Adam, amsgrad=True)),
    ],
)
def test_the_state_is_what_the_optimizer_allocates(name, make, kept, dtype):
    steps = 2 if kept else None
    optimizer = make(0.1, use_ema=kept, gradient_accumulation_steps=steps)
    optimizer.build([keras.Variable([[0.0] * 3] * 5, dtype=dtype)])
    beside = [v for v in optimizer.variables if tuple(v.shape) == (5, 3)]
    size = sum(15 * (4 if v.dtype == "float32" else 2) for v in beside)
    narrow = dtype == "bfloat16"
    assert size == model.state(model.SLOTS[name], 15, narrow, kept, kept)
