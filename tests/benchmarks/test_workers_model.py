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


def test_rows_cost_more_than_the_dense_sum_where_the_page_says():
    """From N·r = 2·V·W/(W + 1) on, but for the length that goes before the rows."""
    touched = 2 * 10_000 * 16 / (17 * 4)
    dense = model.dense_sum(4, 160_000)
    assert model.sum_of_rows(4, int(0.99 * touched), 16) < dense
    assert model.sum_of_rows(4, int(1.01 * touched), 16) > dense


def test_an_update_moves_each_number_once_in_and_once_out():
    assert model.moved(parameters=100, slots=0, gradient=100) == 4 * 300
    assert model.moved(parameters=100, slots=2, gradient=100) == 4 * 700
    assert model.moved(parameters=100, slots=2, gradient=10) == 4 * 610


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
    copies = model.SLOTS[name] + (dtype == "bfloat16") + 2 * kept
    assert size == model.held(15, copies)
