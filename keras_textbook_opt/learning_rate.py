"""The learning rate: a number, a schedule, or a callable."""

import inspect
import math
from typing import Any

import keras
from keras import ops

from keras_textbook_opt import backends
from keras_textbook_opt.settings import Real, message

RATE = Real(at_least=0)


def checked(rate: Any) -> Any:
    """A schedule or callable as it is; a number as a float.

    A tensor whose number is not known while a function is traced stays a tensor.

    Raises:
        ValueError: `rate` is none of these, or out of its range.
    """
    if isinstance(rate, keras.Variable):
        raise ValueError(
            "`learning_rate` must be a number, a schedule or a callable without "
            "arguments. Received: a keras.Variable. Pass its number, and assign "
            "`optimizer.learning_rate` to change it"
        )
    if callable(rate):
        return rate
    if ops.is_tensor(rate):
        rate = scalar(rate)
        try:
            rate = ops.convert_to_numpy(rate)
        except (NotImplementedError, TypeError):
            return rate
    return RATE.checked("learning_rate", rate)


def scalar(rate: Any) -> Any:
    """`rate` as a scalar; a schedule may return a tensor of shape `(1,)`."""
    if isinstance(rate, keras.Variable):
        return rate
    if isinstance(rate, (int, float)):
        return ops.convert_to_tensor(rate, keras.config.floatx())
    shape = getattr(rate, "shape", None)
    is_known = shape is not None and getattr(shape, "rank", 0) is not None
    if shape is None or (is_known and None not in shape and math.prod(shape) != 1):
        expected = "one number, also what a schedule or callable returns"
        raise ValueError(message("learning_rate", expected, rate))
    return rate if shape == () else ops.reshape(rate, ())


def stored(optimizer: Any, rate: Any) -> Any:
    """A schedule or callable as it is, a number in a variable of the optimizer."""
    if callable(rate):
        return rate
    # In 16 bits, 1e-8 is zero.
    dtype = "float64" if keras.config.floatx() == "float64" else "float32"
    initializer = keras.initializers.Constant(rate)
    with backends.active.on_the_host():
        return optimizer.add_variable(
            (), initializer, dtype, "only_first_replica", name="learning_rate"
        )


def assign(old: Any, rate: Any) -> None:
    """`old ← rate`; a `TypeError` if `old` is a schedule or a callable."""
    if callable(old):
        raise TypeError(
            "`learning_rate` is a schedule or a callable, which a number does not "
            "replace. Use a float rate, such as `Adam(1e-3)`, to assign the rate later "
            f"or to use `ReduceLROnPlateau`. Received: {rate!r}"
        )
    with backends.active.on_the_host():
        old.assign(rate)


def given(optimizer: type, learning_rate: Any, lr: Any) -> Any:
    """The rate, which may be given under its name in the textbook, `lr`.

    Raises:
        ValueError: Both are given.
    """
    if lr is None:
        return checked(learning_rate)
    parameter = inspect.signature(optimizer).parameters.get("learning_rate")
    if parameter is not None and learning_rate is not parameter.default:
        raise ValueError(
            "`lr` is another name for `learning_rate`: give one of the two. Received: "
            f"lr={lr!r} and learning_rate={learning_rate!r}"
        )
    return checked(lr)
