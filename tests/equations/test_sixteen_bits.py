"""Variables of 16 bits: a step is that of float32, and what rounds off is not lost.

What `θ` has no bits for waits in its carry, so that `θ + carry` takes float32's path.
"""

from __future__ import annotations

import functools
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
    few_on_jax,
    gradient,
    numbers,
    step_in,
)
from tests.oracle import Oracle
from tests.recipes import EXACT, LAZY, Recipe
from tests.trainer import Trainer, trainer

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
RUNS: list[Any] = [(r, COMPILED[0]) for r in (EXACT[5], EXACT[9], EXACT[12])]
if BACKEND == "tensorflow":
    RUNS = [(r, "eager") for r in (EXACT[12], LAZY[1])]
    ALL = [pytest.param(r, "graph") for r in EXACT + LAZY]
    RUNS += few(ALL, slice(1, None, 3))
    RUNS += [pytest.param(r, "xla", marks=LONG) for r in (EXACT[5], EXACT[12], LAZY[3])]
of_each_dtype = pytest.mark.parametrize("dtype", NARROW)
of_each_optimizer = pytest.mark.parametrize(
    "make", [SGD, Momentum, Adam], ids=lambda make: make.__name__
)


def lazy(k: int):
    return pytest.param(LAZY[k], marks=pytest.mark.needs("rows"))


def held(x: Any, dtype: str) -> np.ndarray:
    """`x` as `dtype` holds it, in float32."""
    return np.asarray(x, "float32").astype(NARROW.get(dtype, dtype)).astype("float32")


def state_of(optimizer, name: str) -> dict[str, keras.Variable]:
    """The variables that `optimizer` keeps under `name`, by the path of their own."""
    found = {}
    for θ, beside in zip(
        optimizer._trainable_variables, optimizer._state.beside.values()
    ):
        kept = {kind.removeprefix("slots/"): v for kind, v in beside.kept().items()}
        if name.strip("/") in kept:
            found[θ.path] = kept[name.strip("/")]
    return found


def carry_of(optimizer, variable) -> np.ndarray:
    carry = state_of(optimizer, "carry/").get(variable.path)
    return np.zeros(variable.shape) if carry is None else numbers(carry)


def whole(optimizer, variable) -> np.ndarray:
    """`θ + carry`, in float64."""
    return as_float64(variable) + carry_of(optimizer, variable)


def as_float64(variable) -> np.ndarray:
    return numbers(variable).astype("float64")


@st.composite
def runs(draw):
    """Values, and for each step gradients: rows for the tables, arrays for the rest."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([1.0, 1e-3]))
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
    optimizer = subject.optimizer
    unit = 100 * np.finfo("float32").eps
    for k, (variable, (_, dtype)) in enumerate(zip(subject.variables, SPECS)):
        expected, atol = oracle.variables[k], unit * oracle.reach[k]
        both = whole(optimizer, variable)
        np.testing.assert_allclose(both, expected, rtol=unit, atol=atol)
        np.testing.assert_array_equal(as_float64(variable), held(both, dtype))
        rounding = HALF_ULP[dtype] * np.abs(expected) + SMALLEST[dtype]
        assert np.all(np.abs(as_float64(variable) - expected) <= rounding * 1.01 + atol)
        for name, slot in oracle.slots[k].items():
            atol = unit * oracle.slot_reach[k][name]
            actual = optimizer.get_slot(variable, name)
            assert actual.dtype == "float32"
            np.testing.assert_allclose(numbers(actual), slot, rtol=unit, atol=atol)


def train(recipe: Recipe, subject: Trainer, run) -> Oracle:
    """Take the run's steps; return the oracle after the same steps."""
    values, gradients = run
    oracle = Oracle(recipe, values)
    for step in gradients:
        oracle.step(step)
    subject.run(values, gradients)
    return oracle


@pytest.mark.parametrize(("recipe", "mode"), RUNS, ids=str)
@given(run=runs())
def test_a_variable_with_its_carry_takes_the_path_of_float32(recipe, mode, run):
    subject = trainer(recipe, mode, SPECS, TABLES)
    assert_follows(subject, train(recipe, subject, run))


@pytest.mark.parametrize("recipe", [EXACT[1], EXACT[8], lazy(1)], ids=str)
def test_without_a_carry_the_path_is_another_one(recipe):
    arguments = recipe.arguments | {"compensate": False}
    subject = trainer(Recipe(recipe.optimizer, arguments), COMPILED[0], SPECS, TABLES)
    rng = np.random.default_rng(0)
    values = [held(rng.normal(size=shape), dtype) for shape, dtype in SPECS]
    oracle = train(recipe, subject, (values, [_step(rng, 1.0) for _ in range(5)]))
    with pytest.raises(AssertionError):
        assert_follows(subject, oracle)


@pytest.mark.parametrize("mode", COMPILED)
@given(seed=st.integers(0, 2**32))
def test_a_value_that_is_subnormal_in_float16_is_rounded_like_another(mode, seed):
    subject = trainer(EXACT[0], mode, SPECS, TABLES)
    rng = np.random.default_rng(seed)
    values = [held(1e-5 * rng.normal(size=s), d) for s, d in SPECS]
    steps = [_step(rng, 1e-6) for _ in range(3)]
    assert_follows(subject, train(EXACT[0], subject, (values, steps)))


# The moving average, and its place in the variable.


@pytest.mark.parametrize("mode", COMPILED)
@given(run=runs())
def test_the_average_is_that_of_float32(mode, run):
    recipe, subject = averaged(mode)
    values, gradients = run
    oracle = Oracle(recipe, values)
    averages = [θ * 0.0 for θ in oracle.variables]
    for t, step in enumerate(gradients):
        oracle.step(step)
        μ = 0.75 if t else 0.0
        averages = [a + (1 - μ) * (θ - a) for a, θ in zip(averages, oracle.variables)]
    subject.run(values, gradients)
    assert_follows(subject, oracle)
    actual = state_of(subject.optimizer, "average/")
    for k, variable in enumerate(subject.variables):
        average = actual[variable.path]
        assert average.dtype == "float32"
        atol = 1e-5 * oracle.reach[k]
        np.testing.assert_allclose(numbers(average), averages[k], rtol=1e-5, atol=atol)


@functools.cache
def averaged(mode: str) -> tuple[Recipe, Trainer]:
    recipe = Recipe(Adam, {"use_ema": True, "ema_momentum": 0.75})
    return recipe, Trainer(recipe, mode, SPECS, TABLES)


@of_each_dtype
def test_an_average_that_replaces_a_variable_brings_its_carry(dtype):
    θ = keras.Variable(held([1.0, -2.0], dtype), dtype=dtype)
    optimizer = SGD(1e-4, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3)
    for _ in range(3):
        optimizer.apply([[1.0, 1.0]], [θ])
    (average,) = state_of(optimizer, "average/").values()
    np.testing.assert_array_equal(whole(optimizer, θ), numbers(average))
    np.testing.assert_array_equal(as_float64(θ), held(numbers(average), dtype))
    assert np.abs(carry_of(optimizer, θ)).min() > 0


# Steps smaller than half an ulp.

ONES = np.ones((3, 1))
rows_of_ones = pytest.param(Sparse(np.arange(3), ONES), marks=pytest.mark.needs("rows"))
PARTS = 2**10


def steps_taken(optimizer, variable, count: int, g: Any = ONES) -> None:
    """Take `count` steps on a gradient of ones."""
    step = step_in(COMPILED[0], optimizer, [variable])
    for _ in range(count):
        step([gradient(g, (3, 1), "float32")])


@pytest.mark.parametrize("g", [ONES, rows_of_ones], ids=["dense", "sparse"])
@of_each_dtype
def test_steps_of_a_thousandth_of_an_ulp_add_up(dtype, g):
    ulp = 2 * HALF_ULP[dtype]
    θ = keras.Variable(np.full((3, 1), 1.5), dtype=dtype)
    optimizer = SGD(ulp / PARTS)
    steps_taken(optimizer, θ, PARTS // 8, g)
    np.testing.assert_array_equal(as_float64(θ), 1.5)
    np.testing.assert_array_equal(whole(optimizer, θ), 1.5 - ulp / 8)
    steps_taken(optimizer, θ, PARTS - PARTS // 8, g)
    np.testing.assert_array_equal(as_float64(θ), 1.5 - ulp)
    np.testing.assert_array_equal(carry_of(optimizer, θ), 0)


@of_each_dtype
def test_without_a_carry_they_are_lost(dtype):
    θ = keras.Variable(np.full((3, 1), 1.5), dtype=dtype)
    optimizer = SGD(2 * HALF_ULP[dtype] / PARTS, compensate=False)
    steps_taken(optimizer, θ, PARTS // 8)
    np.testing.assert_array_equal(as_float64(θ), 1.5)
    assert state_of(optimizer, "carry/") == {}


@of_each_dtype
def test_weight_decay_of_less_than_half_an_ulp_adds_up(dtype):
    θ = keras.Variable(np.full((3, 1), 1.5), dtype=dtype)
    optimizer = SGD(1e-2, weight_decay=1e-3)
    step = step_in(COMPILED[0], optimizer, [θ])
    for _ in range(500):
        step([np.zeros((3, 1), "float32")])
    np.testing.assert_allclose(whole(optimizer, θ), 1.5 * (1 - 1e-5) ** 500, rtol=2e-5)
    assert np.all(whole(optimizer, θ) < 1.494)


def adam_steps(make, dtype: str) -> np.ndarray:
    θ = keras.Variable([1.0, -2.0, 0.5], dtype=dtype)
    optimizer = make(0.1)
    for _ in range(10):
        optimizer.apply([keras.ops.cast([1.0, -1.0, 0.25], dtype)], [θ])
    return as_float64(θ)


def test_the_built_in_adam_does_not_move_in_bfloat16_and_ours_does():
    start = [1.0, -2.0, 0.5]
    assert adam_steps(keras.optimizers.Adam, "bfloat16").tolist() == start
    expected = adam_steps(Adam, "float32")
    np.testing.assert_allclose(adam_steps(Adam, "bfloat16"), expected, atol=4e-3)
    np.testing.assert_allclose(expected, [0.0, -1.0, -0.5], atol=1e-5)


# What is set from outside.


@of_each_optimizer
@of_each_dtype
def test_the_carry_ends_with_an_assignment(make, dtype):
    """Whoever sets a variable sets it to this, and not to something near it."""
    θ = keras.Variable([1000.0, -3.0, 1e-3], dtype=dtype)
    optimizer = make(0.9)
    optimizer.apply([keras.ops.cast([1.0, 0.3, 1e-5], dtype)], [θ])
    θ.assign(keras.ops.zeros(3, dtype))
    rest(optimizer, θ)
    np.testing.assert_array_equal(as_float64(θ), 0)


@of_each_optimizer
@of_each_dtype
def test_a_constraint_ends_it_too(make, dtype):
    θ = keras.Variable([0.375, 0.5], dtype=dtype)
    θ.constraint = keras.constraints.NonNeg()
    optimizer = make(2003.0)
    optimizer.apply([keras.ops.cast([1.0, 2.0], dtype)], [θ])
    rest(optimizer, θ)
    np.testing.assert_array_equal(as_float64(θ), 0)


def rest(optimizer, θ) -> None:
    """Take a step without a gradient, and without a memory of one."""
    for slot in optimizer._state.slots_in_order:
        slot.assign(keras.ops.zeros(slot.shape, slot.dtype))
    optimizer.apply([keras.ops.zeros(θ.shape, θ.dtype)], [θ])


def averaged_model(dtype: str, callbacks: list) -> keras.Model:
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(2, dtype=dtype)
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(Momentum(3e-3, use_ema=True, ema_momentum=0.9), loss="mse")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 3)).astype("float32")
    y = rng.normal(size=(32, 2)).astype("float32")
    how: dict[str, Any] = {"verbose": 0, "shuffle": False, "validation_data": (x, y)}
    model.fit(x, y, 8, 4, callbacks=callbacks, **how)
    return model


class Seen(keras.callbacks.Callback):
    """The weights that a validation sees."""

    def __init__(self):
        super().__init__()
        self.weights: list = []

    def on_test_batch_begin(self, batch, logs=None):
        self.weights.append([as_float64(w) for w in self.model.weights])


@pytest.mark.needs("fit")
@pytest.mark.parametrize("each_epoch", [False, True])
@pytest.mark.parametrize("dtype", few([*NARROW, "float32"], slice(1)))
def test_a_swap_changes_nothing_but_what_is_seen(dtype, each_epoch):
    """Weights, averages and carries go on to the last bit as without the callback.

    Keras's own swap of wider variables is a sum and two differences, which round.
    """
    rtol, atol = (1e-5, 1e-6) if dtype == "float32" else (0, 0)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=each_epoch)
    seen, unswapped = Seen(), Seen()
    swapped = averaged_model(dtype, [swap, seen])
    plain = averaged_model(dtype, [unswapped])
    given, expected = (
        {v.path: as_float64(v) for v in [*m.weights, *m.optimizer.variables]}
        for m in (swapped, plain)
    )
    assert len(given) == len(expected)
    for a, (path, b) in zip(given.values(), expected.items(), strict=True):
        np.testing.assert_allclose(a, b, rtol, atol, err_msg=path)
    averages = [as_float64(w) for w in plain.weights]  # they replaced them at the end
    for a, b in zip(seen.weights[-1], averages, strict=True):
        np.testing.assert_allclose(a, b, rtol, atol)
    assert np.any(seen.weights[-1][0] != unswapped.weights[-1][0])


@pytest.mark.parametrize("mode", COMPILED)
@pytest.mark.parametrize("recipe", [EXACT[0], EXACT[4], lazy(1), lazy(2)], ids=str)
@given(run=runs(), size=st.sampled_from([0.0, 1e-3, 5.0]))
def test_it_does_not_count_after_an_assignment(recipe, mode, run, size):
    """Then the path is that of an optimizer which found the variable like this."""
    subject = trainer(recipe, mode, SPECS, TABLES)
    values, gradients = run
    values = [held(1000 * value, d) for value, (_, d) in zip(values, SPECS)]
    subject.run(values, gradients)
    assigned = [held(size * value, d) for value, (_, d) in zip(values, SPECS)]
    for variable, value in zip(subject.variables, assigned, strict=True):
        variable.assign(value)
    for beside in subject.optimizer._state.beside.values():
        for slot in beside.slots.values():
            slot.assign(np.zeros(slot.shape))
    subject.optimizer.iterations.assign(0)
    oracle = Oracle(recipe, assigned)
    for step in gradients:
        oracle.step(step)
        subject.step(step)
    for k, (variable, (_, dtype)) in enumerate(zip(subject.variables, SPECS)):
        atol = 1e-5 * oracle.reach[k] + SMALLEST[dtype]
        if dtype != "float32":
            # A carry that might be of this value, too, is taken for its own.
            atol += HALF_ULP[dtype] * np.abs(assigned[k])
        both = whole(subject.optimizer, variable)
        assert np.all(np.abs(both - oracle.variables[k]) <= atol)


# What it costs.


def bytes_per_parameter(optimizer, dtype: str) -> float:
    θ = keras.Variable(np.zeros((50, 20)), dtype=dtype)
    optimizer.build([θ])
    sizes = [v for v in optimizer.variables if len(v.shape)]
    total = sum(
        np.prod(v.shape) * keras.backend.standardize_dtype(v.dtype).endswith("32") * 4
        for v in sizes
    )
    assert all(v.dtype == "float32" for v in sizes)
    return float(total / 1000)


@pytest.mark.parametrize(
    ("make", "slots"), [(SGD, 0), (Momentum, 4), (Adam, 8)], ids=lambda x: str(x)
)
def test_a_carry_costs_4_bytes_a_parameter_of_16_bits_and_none_of_another(make, slots):
    for dtype in NARROW:
        assert bytes_per_parameter(make(), dtype) == slots + 4
        assert bytes_per_parameter(make(compensate=False), dtype) == slots
    assert bytes_per_parameter(make(), "float32") == slots


# Not a number only where the gradient is none.

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


def stepped(make, kind: str, dtype: str, gradients, start=1.0, **arguments) -> list:
    """Two variables after a step for each gradient, the same one for both."""
    if kind == "lazy" and make is not SGD:
        arguments["sparse_update"] = "lazy"
    optimizer = make(0.1, **arguments)
    variables = [keras.Variable(np.full((4, 1), start), dtype=dtype) for _ in range(2)]
    for values in gradients:
        arrays: list[Any] = [np.reshape(values, (4, 1)), np.zeros((4, 1))]
        if kind != "dense":
            arrays = [Sparse(np.array([2, 0, 3, 1]), g) for g in arrays]
        optimizer.apply([gradient(g, (4, 1), dtype) for g in arrays], variables)
    values = [as_float64(v)[:, 0] for v in variables]
    values[0] = values[0] if kind == "dense" else values[0][[2, 0, 3, 1]]
    return values


@of_each_kind
@of_each_clip
@of_each_dtype
@of_each_optimizer
def test_zero_gradients_leave_numbers(make, dtype, clip, kind):
    for values in stepped(make, kind, dtype, np.zeros((3, 4)), **clip):
        assert values.tolist() == [1.0] * 4


@of_each_kind
@of_each_clip
@of_each_dtype
@of_each_optimizer
def test_gradients_at_the_ends_of_the_dtype_leave_numbers(make, dtype, clip, kind):
    most = 6e4 if dtype == "float16" else 3e38
    least = SMALLEST[dtype]
    gradients = [[most, -most, least, 0], [least, most, -least, least], [0] * 4]
    for values in stepped(make, kind, dtype, gradients, **clip):
        assert not np.isnan(values).any()


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
@of_each_clip
@of_each_optimizer
def test_an_infinite_gradient_spoils_its_own_element_alone(make, clip, kind):
    gradients = [[np.inf, 1.0, 0.5, 0.0], [0.0, 1.0, 0.5, 0.0]]
    values, others = stepped(make, kind, "float16", gradients, **clip)
    assert np.isfinite(values[1:]).all() and np.isfinite(others).all()
    assert values[3] == 1.0 and others.tolist() == [1.0] * 4
    if "clipvalue" in clip:
        assert np.isfinite(values[0])


@of_each_kind
def test_a_variable_may_leave_the_range_of_float16(kind):
    gradients = [[-1e4, -1e4, 0, 0]] * 20
    values, _ = stepped(SGD, kind, "float16", gradients, start=6e4)
    assert values.tolist() == [np.inf, np.inf, 6e4, 6e4]


# The gradient's dtype, saving, and whole models.


@of_each_optimizer
@of_each_dtype
def test_the_gradient_may_be_of_any_width(make, dtype):
    values = [0.5, -0.25, 3.0]
    after = []
    for width in ("bfloat16", "float16", "float32"):
        θ = keras.Variable([1.0, 2.0, 3.0], dtype=dtype)
        optimizer = make(0.01)
        for _ in range(3):
            optimizer.apply([keras.ops.convert_to_tensor(values, width)], [θ])
        after.append(whole(optimizer, θ))
    np.testing.assert_array_equal(after[0], after[1])
    np.testing.assert_array_equal(after[0], after[2])


@pytest.mark.needs("fit")
@pytest.mark.parametrize("make", few_on_jax([SGD, Momentum, Adam], slice(2, None)))
@of_each_dtype
def test_a_loaded_optimizer_goes_on_with_its_carries(make, dtype, tmp_path):
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    y = x.sum(1, keepdims=True)
    layer = keras.layers.Dense(1, dtype=dtype)
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(make(1e-4, clipnorm=1.0), loss="mse")
    for _ in range(3):
        model.train_on_batch(x, y)
    assert any(np.any(carry_of(model.optimizer, w)) for w in model.weights)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for trained in (model, loaded):
        for _ in range(3):
            trained.train_on_batch(x, y)
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        assert ours.dtype == theirs.dtype == dtype
        np.testing.assert_array_equal(
            whole(model.optimizer, ours), whole(loaded.optimizer, theirs)
        )


@pytest.fixture
def dtype_policy():
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


@pytest.mark.needs("fit")
@pytest.mark.parametrize("dtype", few_on_jax([*NARROW], slice(1)))
def test_a_model_under_the_policy_trains_in_16_bits(dtype, dtype_policy):
    dtype_policy(dtype)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            keras.layers.Embedding(20, 8),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    model.compile(Adam(1e-2, global_clipnorm=10.0), loss="mse")
    x = np.random.default_rng(0).integers(0, 20, (64, 4))
    y = (x / 20).sum(1, keepdims=True)
    losses = model.fit(x, y, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 10
    assert {w.dtype for w in model.weights} == {dtype}
    state = [v for v in model.optimizer.variables if v.path.count("/") and v.ndim]
    assert {v.dtype for v in state} == {"float32"}
