"""Variables of 16 bits: a step is that of float32, and rounding loses nothing.

The carry holds what a variable of 16 bits rounds off: `θ + carry` follows float32.
"""

from __future__ import annotations

from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import SGD, Adam, Momentum
from tests.backends import (
    BACKEND,
    COMPILED,
    HAS,
    LONG,
    Sparse,
    few,
    gradient,
    numbers,
    step_in,
)
from tests.oracle import Oracle
from tests.recipes import EXACT, LAZY
from tests.trainer import Trainer, kept, trainer, whole

NARROW = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
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
ROWS = 7
# Each recipe is a compilation: JAX gets few, and XLA in TensorFlow.
RUNS: list[Any] = [(r, COMPILED[0]) for r in (EXACT[5], EXACT[9])]
if BACKEND == "tensorflow":
    ALL = [pytest.param(r, "graph") for r in EXACT + LAZY]
    RUNS = [(LAZY[1], "eager"), *few(ALL, slice(1, None, 5))]
    RUNS += [pytest.param(r, "xla", marks=LONG) for r in (EXACT[5], EXACT[12], LAZY[3])]
of_each_dtype = pytest.mark.parametrize("dtype", NARROW)
of_each_optimizer = pytest.mark.parametrize(
    "make", [SGD, Momentum, Adam], ids=lambda make: make.__name__
)


def held(x: Any, dtype: str) -> np.ndarray:
    """`x` as `dtype` holds it, in float32."""
    return np.asarray(x, "float32").astype(NARROW.get(dtype, dtype)).astype("float32")


def as_float64(variable) -> np.ndarray:
    return numbers(variable).astype("float64")


@st.composite
def runs(draw):
    """Values, and for each step gradients: rows for the tables, arrays for the rest."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([1.0, 1e-3, 1e-6]))
    values = [held(rng.normal(size=shape), dtype) for shape, dtype in SPECS]
    return values, [_step(rng, scale) for _ in range(draw(st.integers(1, 5)))]


def _step(rng, scale: float) -> list:
    dense = [held(scale * rng.normal(size=s), d) for s, d in SPECS[len(TABLES) :]]
    return [_rows(rng, scale, *SPECS[k]) for k in TABLES] + dense


def _rows(rng, scale: float, shape, dtype: str) -> Sparse:
    values = scale * rng.normal(size=(ROWS, *shape[1:])) * rng.choice([0, 0.1, 1])
    return Sparse(rng.integers(0, shape[0] - 1, ROWS), held(values, dtype))


def assert_follows(subject: Trainer, oracle: Oracle) -> None:
    """`θ + carry` and slots are the oracle's to float32; `θ` is rounded from that."""
    unit = 100 * np.finfo("float32").eps
    for k, (variable, (_, dtype)) in enumerate(zip(subject.variables, SPECS)):
        expected, atol = oracle.variables[k], unit * oracle.reach[k]
        both = whole(subject.optimizer, variable)
        np.testing.assert_allclose(both, expected, rtol=unit, atol=atol)
        np.testing.assert_array_equal(as_float64(variable), held(both, dtype))
        for name, slot in oracle.slots[k].items():
            atol = unit * oracle.slot_reach[k][name]
            assert subject.optimizer.get_slot(variable, name).dtype == "float32"
            np.testing.assert_allclose(subject.slot(k, name), slot, unit, atol)


@pytest.mark.parametrize(("recipe", "mode"), RUNS, ids=str)
@given(run=runs())
def test_a_variable_with_its_carry_follows_float32(recipe, mode, run):
    subject, (values, gradients) = trainer(recipe, mode, SPECS, TABLES), run
    oracle = Oracle(recipe, values)
    for step in gradients:
        oracle.step(step)
    subject.run(values, gradients)
    assert_follows(subject, oracle)


@pytest.mark.parametrize("mode", COMPILED)
@pytest.mark.parametrize("recipe", [EXACT[0], EXACT[4]], ids=str)
@given(run=runs(), size=st.sampled_from([0.0, 1e-3, 5.0]))
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


@of_each_dtype
def test_an_average_that_replaces_a_variable_brings_its_carry(dtype):
    θ = keras.Variable(held([1.0, -2.0], dtype), dtype=dtype)
    optimizer = SGD(1e-4, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3)
    for _ in range(3):
        optimizer.apply([[1.0, 1.0]], [θ])
    average = kept(optimizer, θ)["average"]
    assert average.dtype == "float32"
    np.testing.assert_array_equal(whole(optimizer, θ), numbers(average))
    np.testing.assert_array_equal(as_float64(θ), held(numbers(average), dtype))
    assert np.abs(numbers(kept(optimizer, θ)["carry"])).min() > 0


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


@of_each_dtype
def test_weight_decay_of_less_than_half_an_ulp_adds_up(dtype):
    θ = keras.Variable(np.full((3, 1), 1.5), dtype=dtype)
    optimizer = SGD(1e-2, weight_decay=1e-3)
    step = step_in(COMPILED[0], optimizer, [θ])
    for _ in range(200):
        step([np.zeros((3, 1), "float32")])
    np.testing.assert_allclose(whole(optimizer, θ), 1.5 * (1 - 1e-5) ** 200, rtol=2e-5)
    assert np.all(whole(optimizer, θ) < 1.498)


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

CLIPS: list[dict[str, float]] = [
    {},
    {"clipnorm": 1.0},
    {"global_clipnorm": 1.0},
    {"clipvalue": 1.0},
]
of_each_clip = pytest.mark.parametrize("clip", CLIPS, ids=str)
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


# Whole models.


@pytest.mark.needs("fit")
@pytest.mark.parametrize("dtype", few([*NARROW], slice(1)))
def test_a_model_under_the_policy_trains_in_16_bits(dtype):
    """`keras.optimizers.Adam` does not move in bfloat16."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        layers = [keras.layers.Embedding(20, 8), keras.layers.Flatten()]
        inputs = keras.Input((4,), dtype="int32")
        keras.utils.set_random_seed(0)
        model = keras.Sequential([inputs, *layers, keras.layers.Dense(1)])
    finally:
        keras.config.set_dtype_policy(before)
    model.compile(Adam(1e-2, global_clipnorm=10.0), loss="mse")
    x = np.random.default_rng(0).integers(0, 20, (64, 4))
    y = (x / 20).sum(1, keepdims=True)
    losses = model.fit(x, y, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 5
    assert {w.dtype for w in model.weights} == {dtype}


@pytest.mark.needs("fit")
def test_a_swap_with_averages_is_refused_in_16_bits():
    layer = keras.layers.Dense(2, dtype="bfloat16")
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(Momentum(3e-3, use_ema=True), loss="mse")
    x = np.ones((8, 3), "float32")
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    with pytest.raises(ValueError, match="16 bits"):
        model.fit(x, x[:, :2], callbacks=[swap], verbose=0)
