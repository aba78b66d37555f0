"""A learning rate is one number: a float, a schedule or a callable."""

import functools

import keras
import numpy as np
import pytest
from keras import ops
from keras.optimizers import schedules

from keras_textbook_opt import SGD, Adam, Momentum
from tests.backends import MODES_IN_TIME, few_on_jax, numbers, of_dtypes, step_in
from tests.same import assert_same

OPTIMIZERS = [SGD, Momentum, Adam]
of_each_optimizer = pytest.mark.parametrize("cls", OPTIMIZERS)
of_each_mode = pytest.mark.parametrize("mode", MODES_IN_TIME)
DTYPES = ["float32", "float64", "float16"]


def stepped(optimizer, mode: str) -> list[np.ndarray]:
    """A variable of each dtype, after three steps."""
    with of_dtypes(DTYPES):
        variables = [keras.Variable([1.0, -2.0], dtype=d, name=d) for d in DTYPES]
        optimizer.build(variables)
        step = step_in(mode, optimizer, variables)
        for _ in range(3):
            step([ops.cast([0.5, -4.0], dtype) for dtype in DTYPES])
        return [numbers(v).astype("float64") for v in variables]


@functools.cache
def stepped_at(rate: float, cls: type, mode: str, **arguments) -> list:
    """The same of an optimizer whose rate is a float."""
    return stepped(cls(rate, **arguments), mode)


class InAVector(schedules.LearningRateSchedule):
    def __call__(self, step):
        return ops.reshape(ops.cast(0.125, "float32"), (1,))


ONE_NUMBER = {
    "a NumPy number": np.float64(0.125),
    "an array of shape ()": np.array(0.125),
    "a tensor": ops.convert_to_tensor(0.125),
    "a schedule": InAVector(),
    "a callable for a float": lambda: 0.125,
    "a callable for a tensor": lambda: ops.convert_to_tensor([0.125]),
}


@of_each_mode
@pytest.mark.parametrize("form", few_on_jax([*ONE_NUMBER], slice(2, None, 2)))
def test_every_form_of_a_rate_gives_the_steps_of_the_float(form, mode):
    """Also assigned to a float."""
    assigned = SGD(0.5)
    assigned.learning_rate = ONE_NUMBER[form]
    for optimizer in (assigned, *(cls(ONE_NUMBER[form]) for cls in OPTIMIZERS)):
        expected = stepped_at(0.125, type(optimizer), mode)
        assert_same(stepped(optimizer, mode), expected)
        assert ops.shape(optimizer.learning_rate) == ()


def test_a_variable_as_the_rate_is_refused():
    with pytest.raises(ValueError, match=r"keras\.Variable"):
        SGD(keras.Variable(0.5))


SCHEDULES = {
    "piecewise": schedules.PiecewiseConstantDecay([1, 2], [0.2, 0.1, 0.0]),
    "cosine": schedules.CosineDecay(0.0, 4, warmup_target=0.2, warmup_steps=2),
    "exponential": schedules.ExponentialDecay(0.2, 2, 0.5),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("mode", MODES_IN_TIME[:2])
def test_a_schedule_gets_the_number_of_steps_taken(name, mode):
    schedule, θ = SCHEDULES[name], keras.Variable([0.0])
    step = step_in(mode, SGD(schedule), [θ])
    for taken in range(4):
        before = numbers(θ)
        step([np.array([1.0], "float32")])
        expected = before - float(numbers(schedule(taken)))
        np.testing.assert_allclose(numbers(θ), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("first", [SCHEDULES["cosine"], lambda: 0.5])
def test_a_schedule_or_a_callable_is_replaced_by_another(first):
    optimizer = SGD(first)
    optimizer.learning_rate = SCHEDULES["exponential"]
    θ = keras.Variable([0.0])
    optimizer.apply([np.array([1.0], "float32")], [θ])
    np.testing.assert_allclose(numbers(θ), [-0.2], rtol=1e-6)


def test_a_float_does_not_replace_a_schedule():
    optimizer = SGD(SCHEDULES["cosine"])
    with pytest.raises(TypeError, match="Use a float rate"):
        optimizer.learning_rate = 0.5


@pytest.mark.parametrize("mode", MODES_IN_TIME[:2])
def test_a_callable_is_called_once_a_step(mode):
    asked: list[int] = []

    def rate():
        asked.append(1)
        return 0.1

    variables = [keras.Variable([1.0]), keras.Variable([1.0])]
    optimizer = Adam(rate, weight_decay=0.5, learning_rate_multipliers={"variable": 2})
    step_in(mode, optimizer, variables)([np.ones(1, "float32")] * 2)
    assert len(asked) == 1


VECTORS = [np.full(shape, 0.125, "float32") for shape in [(2,), (0,), (1, 3)]]


@pytest.mark.parametrize("bad", [*VECTORS, None, "0.1", {}], ids=str)
def test_a_callable_or_schedule_without_one_number_is_refused_and_nothing_moves(bad):

    class Schedule(schedules.LearningRateSchedule):
        def __call__(self, step):
            return bad

    θ = keras.Variable([1.0])
    for rate in (Schedule(), lambda: bad):
        optimizer = SGD(rate)
        with pytest.raises(ValueError, match=r"`learning_rate` must be .*Received: "):
            optimizer.apply([np.array([1.0])], [θ])
        assert int(numbers(optimizer.iterations)) == 0 and numbers(θ) == 1


@of_each_optimizer
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_rate_is_float32_or_wider_whatever_floatx_is(cls, dtype):
    before = keras.config.floatx()
    keras.config.set_floatx(dtype)
    try:
        optimizer = cls(1e-8)
    finally:
        keras.config.set_floatx(before)
    assert optimizer.learning_rate.dtype == "float32"
    assert float(numbers(optimizer.learning_rate)) == np.float32(1e-8)


@of_each_mode
@of_each_optimizer
def test_each_variable_has_the_rate_times_its_factor(cls, mode):
    settings = {"weight_decay": 0.1, "clipnorm": 1.0}
    factors = dict(zip(DTYPES, [1.0, 0.25, 0.5]))
    layers = cls(0.25, **settings, learning_rate_multipliers=factors)
    for k, after in enumerate(stepped(layers, mode)):
        rate = 0.25 * factors[DTYPES[k]]
        expected = stepped_at(rate, cls, mode, **settings)[k]
        np.testing.assert_allclose(after, expected, rtol=1e-6)


@of_each_optimizer
@pytest.mark.parametrize("factors", [{}, {"a": 1}, {"a": 2, "b": 2}])
def test_the_step_size_is_computed_once_for_each_factor(cls, factors):
    class Counting(cls):  # type: ignore[misc, valid-type]
        count = 0

        def step_size(self, η, t):
            Counting.count += 1
            return super().step_size(η, t)

    variables = [keras.Variable([1.0], name=n) for n in "abbcd"]
    optimizer = Counting(learning_rate_multipliers=factors)
    optimizer.apply([[1.0]] * 5, variables)
    assert Counting.count == len({*factors.values(), 1})
