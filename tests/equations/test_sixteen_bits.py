"""Variables of 16 bits: a step is that of float32, and rounding loses nothing.

The carry holds what a variable of 16 bits rounds off: `θ + carry` follows float32.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import SGD, Adam, Momentum
from tests.backends import COMPILED, HAS, Sparse, gradient, numbers, step_in
from tests.oracle import Oracle
from tests.recipes import EXACT
from tests.trainer import NARROW, held, kept, runs, trainer, whole

HALF_ULP = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-24}
SMALLEST = {"bfloat16": 2.0**-133, "float16": 2.0**-24, "float32": 2.0**-149}
SPECS = (
    ((6, 3), "bfloat16"),
    ((5, 2), "float16"),
    ((4,), "bfloat16"),
    ((2, 3), "float16"),
    ((3,), "float32"),
)
TABLES = (0, 1)
of_each_dtype = pytest.mark.parametrize("dtype", NARROW)
of_each_optimizer = pytest.mark.parametrize(
    "make", [SGD, Momentum, Adam], ids=lambda make: make.__name__
)


def as_float64(variable) -> np.ndarray:
    return numbers(variable).astype("float64")


@pytest.mark.parametrize("mode", COMPILED)
@pytest.mark.parametrize("recipe", [EXACT[0], EXACT[4]], ids=str)
@given(run=runs(SPECS, TABLES, counts=(7,)), size=st.sampled_from([0.0, 1e-3, 5.0]))
def test_the_carry_does_not_count_after_an_assignment(recipe, mode, run, size):
    """The steps are those of an optimizer that found the variable with this value."""
    subject = trainer(recipe, mode, SPECS, TABLES)
    values, gradients = run
    subject.run([held(1000 * v, d) for v, (_, d) in zip(values, SPECS)], gradients)
    assigned = [held(size * value, d) for value, (_, d) in zip(values, SPECS)]
    for variable, value in zip(subject.variables, assigned, strict=True):
        variable.assign(value)
        for kind, place in kept(subject.optimizer, variable).items():
            if kind != "carry":
                place.assign(keras.ops.zeros(place.shape, place.dtype))
    subject.optimizer.iterations.assign(0)
    oracle = Oracle(recipe, assigned)
    for step in gradients:
        oracle.step(step)
        subject.step(step)
    for k, (variable, (_, dtype)) in enumerate(zip(subject.variables, SPECS)):
        atol = 1e-5 * oracle.reach[k] + SMALLEST[dtype]
        if dtype != "float32":
            # A carry that could belong to this value, too, counts.
            atol += HALF_ULP[dtype] * np.abs(assigned[k])
        both = whole(subject.optimizer, variable)
        assert np.all(np.abs(both - oracle.variables[k]) <= atol)


@of_each_dtype
def test_a_constraint_ends_the_carry(dtype):
    θ = keras.Variable([0.375, 0.5], dtype=dtype)
    θ.constraint = keras.constraints.NonNeg()
    optimizer = SGD(2003.0)
    for g in ([1.0, 2.0], [0.0, 0.0]):
        optimizer.apply([keras.ops.cast(g, dtype)], [θ])
    np.testing.assert_array_equal(as_float64(θ), 0)


# Steps smaller than half an ulp.

ONES = np.ones((3, 1))
rows_of_ones = pytest.param(Sparse(np.arange(3), ONES), marks=pytest.mark.needs("rows"))
PARTS = 2**8


@pytest.mark.parametrize("g", [ONES, rows_of_ones], ids=["dense", "sparse"])
@of_each_dtype
def test_small_steps_add_up_with_a_carry_and_are_lost_without(dtype, g):
    ulp = 2 * HALF_ULP[dtype]
    for compensate in (True, False):
        θ = keras.Variable(np.full((3, 1), 1.5), dtype=dtype)
        optimizer = SGD(ulp / PARTS, compensate=compensate)
        step = step_in(COMPILED[0], optimizer, [θ])
        for count in (PARTS // 8, PARTS - PARTS // 8):
            for _ in range(count):
                step([gradient(g, (3, 1), "float32")])
            if count == PARTS // 8:
                np.testing.assert_array_equal(as_float64(θ), 1.5)
        assert ("carry" in kept(optimizer, θ)) == compensate
        np.testing.assert_array_equal(as_float64(θ), 1.5 - ulp * compensate)


@pytest.mark.parametrize(
    ("make", "slots"), [(SGD, 0), (Momentum, 4), (Adam, 8)], ids=lambda x: str(x)
)
def test_state_is_float32_and_a_carry_costs_4_bytes_a_parameter(make, slots):
    def bytes_per_parameter(optimizer, dtype: str) -> float:
        θ = keras.Variable(np.zeros((5, 2)), dtype=dtype)
        optimizer.build([θ])
        state = kept(optimizer, θ).values()
        assert {v.dtype for v in state} <= {"float32"}
        return sum(4 * numbers(v).size for v in state) / 10

    for dtype in NARROW:
        assert bytes_per_parameter(make(), dtype) == slots + 4
        assert bytes_per_parameter(make(compensate=False), dtype) == slots
    assert bytes_per_parameter(make(), "float32") == slots


# A step is NaN only where the gradient is not finite.

CLIPS = [{}, {"clipnorm": 1.0}, {"global_clipnorm": 1.0}, {"clipvalue": 1.0}]
of_each_kind = pytest.mark.parametrize(
    "kind", ["dense", *(k for k in ("exact", "lazy") if "rows" in HAS)]
)


def stepped(make, kind: str, dtype: str, gradients, **arguments) -> list:
    """Two variables after some steps; the gradient of the second is always zero."""
    if kind == "lazy" and make is not SGD:
        arguments["sparse_update"] = "lazy"
    optimizer = make(0.1, **arguments)
    variables = [keras.Variable(np.ones((4, 1)), dtype=dtype) for _ in range(2)]
    for values in gradients:
        arrays: list[Any] = [np.reshape(values, (4, 1)), np.zeros((4, 1))]
        if kind != "dense":
            arrays = [Sparse(np.array([2, 0, 3, 1]), g) for g in arrays]
        optimizer.apply([gradient(g, (4, 1), dtype) for g in arrays], variables)
    values = [as_float64(v)[:, 0] for v in variables]
    values[0] = values[0] if kind == "dense" else values[0][[2, 0, 3, 1]]
    return values


@of_each_kind
@of_each_dtype
@of_each_optimizer
def test_gradients_at_the_ends_of_the_dtype_leave_numbers(make, dtype, kind):
    most = 6e4 if dtype == "float16" else 1e18
    least = SMALLEST[dtype]
    gradients = [[0] * 4, [most, -most, least, 0], [least, most, -least, least]]
    for clip in CLIPS:
        moved, quiet = stepped(make, kind, dtype, gradients, **clip)
        assert not np.isnan(moved).any() and quiet.tolist() == [1.0] * 4


@of_each_kind
@of_each_dtype
@pytest.mark.parametrize("amsgrad", [False, True])
def test_an_epsilon_that_the_dtype_cannot_hold_leaves_numbers(dtype, kind, amsgrad):
    arguments = {"epsilon": 2e-38, "amsgrad": amsgrad}
    gradients = [[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]]
    moved, quiet = stepped(Adam, kind, dtype, gradients, **arguments)
    assert np.isfinite(moved).all() and quiet.tolist() == [1.0] * 4
    assert moved[0] == 1.0 and (moved[1:] < 1.0).all()


@of_each_kind
@of_each_optimizer
def test_an_infinite_gradient_spoils_only_its_own_element(make, kind):
    gradients = [[np.inf, 1.0, 0.5, 0.0], [0.0, 1.0, 0.5, 0.0]]
    for clip in ({}, {"clipvalue": 1.0}):
        values, others = stepped(make, kind, "float16", gradients, **clip)
        assert np.isfinite(values[1:]).all() and np.isfinite(others).all()
        assert values[3] == 1.0 and others.tolist() == [1.0] * 4
        assert np.isfinite(values[0]) == bool(clip)


@of_each_optimizer
@of_each_dtype
def test_the_gradient_may_be_of_any_width(make, dtype):
    after = []
    for width in ("bfloat16", "float16", "float32"):
        θ = keras.Variable([1.0, 2.0, 3.0], dtype=dtype)
        optimizer = make(0.01)
        for _ in range(3):
            g = keras.ops.convert_to_tensor([0.5, -0.25, 3.0], width)
            optimizer.apply([g], [θ])
        after.append(whole(optimizer, θ).tolist())
    assert after[0] == after[1] == after[2]


@pytest.mark.needs("fit")
def test_a_swap_with_averages_is_refused_in_16_bits():
    layer = keras.layers.Dense(2, dtype="bfloat16")
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(Momentum(3e-3, use_ema=True), loss="mse")
    x = np.ones((8, 3), "float32")
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    with pytest.raises(ValueError, match="16 bits"):
        model.fit(x, x[:, :2], callbacks=[swap], verbose=0)
