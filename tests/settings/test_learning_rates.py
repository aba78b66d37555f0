"""A learning rate is one number, in whatever form; a subclass may have more."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_textbook_opt import SGD, Adam, Momentum
from tests.backends import MODES_IN_TIME, numbers, of_dtypes, step_in
from tests.same import assert_same

OPTIMIZERS = [SGD, Momentum, Adam]
of_each_optimizer = pytest.mark.parametrize("cls", OPTIMIZERS)
of_each_mode = pytest.mark.parametrize("mode", MODES_IN_TIME)
DTYPES = ["float32", "float64", "float16"]


def stepped(optimizer, mode: str = "eager", count: int = 3) -> list[np.ndarray]:
    """A variable of each dtype, after some steps."""
    with of_dtypes(DTYPES):
        variables = [keras.Variable([1.0, -2.0], dtype=d, name=d) for d in DTYPES]
        optimizer.build(variables)
        step = step_in(mode, optimizer, variables)
        for _ in range(count):
            step([ops.cast([0.5, -4.0], dtype) for dtype in DTYPES])
        return [numbers(v).astype("float64") for v in variables]


@functools.cache
def stepped_at(rate: float, cls: type, mode: str = "eager", **arguments) -> list:
    """The same of an optimizer whose rate is a float."""
    return stepped(cls(rate, **arguments), mode)


@keras.saving.register_keras_serializable(package="test_learning_rates")
class InAVector(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return ops.reshape(ops.cast(0.125, "float32"), (1,))

    def get_config(self):
        return {}


ONE_NUMBER = {
    "an array of shape (1,)": np.array([0.125], "float32"),
    "an array of shape (1, 1)": np.array([[0.125]]),
    "an array of shape ()": np.array(0.125),
    "a tensor": ops.convert_to_tensor([0.125]),
    "a schedule": InAVector(),
    "a callable for a tensor": lambda: ops.convert_to_tensor([0.125]),
    "a callable for an array": lambda: np.array([0.125]),
    "a callable for a list": lambda: [0.125],
}


@of_each_mode
@pytest.mark.parametrize("form", ONE_NUMBER)
def test_a_rate_of_one_element_is_the_number_in_it(form, mode):
    rate = ONE_NUMBER[form]
    for cls in OPTIMIZERS:
        assert_same(stepped(cls(rate), mode), stepped_at(0.125, cls, mode))
        assert ops.shape(cls(rate).learning_rate) == ()


@of_each_optimizer
def test_it_can_be_set_too(cls):
    for form in ("an array of shape (1,)", "a tensor"):
        optimizer = cls(0.5)
        optimizer.learning_rate = ONE_NUMBER[form]
        assert_same(stepped(optimizer), stepped_at(0.125, cls))


@of_each_optimizer
@pytest.mark.parametrize("shape", [(2,), (0,), (1, 3)])
def test_a_rate_of_another_shape_is_refused_and_nothing_moves(cls, shape):
    rate = np.full(shape, 0.125, "float32")
    message = r"`learning_rate` must be a scalar.*shape.*Received: learning_rate="
    with pytest.raises(ValueError, match=message):
        cls(rate)
    optimizer = cls(0.5)
    with pytest.raises(ValueError, match=message):
        optimizer.learning_rate = ops.convert_to_tensor(rate)
    assert float(optimizer.learning_rate) == 0.5
    θ = keras.Variable([1.0])
    with pytest.raises(ValueError, match=message):
        cls(lambda: rate).apply([np.array([1.0])], [θ])
    assert numbers(θ).tolist() == [1.0]


# A rate for each variable: `update_step`, as Keras has it.


def by_layer(cls: type, factors: dict[str, float]) -> type:
    """A subclass with a factor of the learning rate for each variable's name."""

    class ByLayer(cls):
        def update_step(self, gradient, variable, learning_rate):
            assert ops.is_tensor(learning_rate) and learning_rate.shape == ()
            factor = factors[variable.name.split(":")[0]]
            super().update_step(gradient, variable, learning_rate * factor)

    return ByLayer


EACH = {"weight_decay": 0.1, "clipnorm": 1.0}


@of_each_mode
@of_each_optimizer
@pytest.mark.parametrize("rate", [0.125, lambda: 0.125], ids=["float", "callable"])
def test_a_subclass_steps_each_variable_with_its_own_rate(cls, mode, rate):
    factors = dict(zip(DTYPES, [1.0, 0.25, 0.5]))
    layers = by_layer(cls, factors)(rate, **EACH)
    for k, after in enumerate(stepped(layers, mode)):
        expected = stepped_at(0.125 * factors[DTYPES[k]], cls, mode, **EACH)[k]
        np.testing.assert_allclose(after, expected, rtol=1e-6)


@of_each_optimizer
def test_the_step_size_is_computed_once_a_dtype_and_step(cls):
    """And once more for each variable that has a rate of its own."""
    for subclass, more in [
        (cls, 0),
        (by_layer(cls, dict.fromkeys(DTYPES, 0.5)), len(DTYPES)),
    ]:

        class Counting(subclass):  # type: ignore[misc, valid-type]
            count = 0

            def step_size(self, η, t):
                Counting.count += 1
                return super().step_size(η, t)

        stepped(Counting(0.1), count=1)
        assert Counting.count == 2 + more


@of_each_mode
def test_a_subclass_with_its_own_update_step_takes_that_and_no_kernel(mode):
    class Backwards(Adam):  # type: ignore[misc]
        def update_step(self, gradient, variable, learning_rate):
            assert ops.is_tensor(gradient)
            step = ops.sign(gradient) * ops.cast(learning_rate, gradient.dtype)
            self.assign_add(variable, step)

    for clipnorm in (None, 1.0):
        for after in stepped(Backwards(0.25, clipnorm=clipnorm), mode, count=2):
            np.testing.assert_array_equal(after, [1.5, -2.5])


# 16 bits.


@pytest.fixture
def floatx():
    before = keras.config.floatx()
    yield keras.config.set_floatx
    keras.config.set_floatx(before)


@of_each_optimizer
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_rate_is_of_32_bits_or_more_whatever_floatx_says(cls, dtype, floatx):
    floatx(dtype)
    optimizer = cls(1e-8)
    assert optimizer.learning_rate.dtype == "float32"
    assert float(ops.convert_to_numpy(optimizer.learning_rate)) == np.float32(1e-8)
    assert [v.name for v in optimizer.variables] == ["iteration", "learning_rate"]
    assert "learning_rate" in optimizer.variables[1].path
    optimizer.learning_rate = 2e-8
    θ = keras.Variable([1.0], dtype="float32")
    sgd = SGD(1e-4)
    sgd.build([θ])
    sgd.apply([np.array([1.0], "float32")], [θ])
    np.testing.assert_allclose(numbers(θ), 1 - 1e-4, rtol=1e-7)
    floatx("float64")
    with of_dtypes(["float64"]):
        assert cls(1e-8).learning_rate.dtype == "float64"


@pytest.mark.parametrize(
    "rate", [None, "0.1", 1j, object()], ids=lambda rate: type(rate).__name__
)
@pytest.mark.parametrize("steps", [False, True], ids=["callable", "schedule"])
def test_a_rate_that_is_no_number_is_refused(rate, steps):
    class Schedule(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return rate

    optimizer, θ = SGD(Schedule() if steps else lambda: rate), keras.Variable(1.0)
    with pytest.raises(ValueError, match="`learning_rate` must be a number"):
        optimizer.apply([np.ones(())], [θ])
    assert int(numbers(optimizer.iterations)) == 0 and numbers(θ) == 1
