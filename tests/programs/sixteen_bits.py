"""What holds for variables of 16 bits on every backend: the carry, and its average."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_textbook_opt import SGD, Adam, Momentum

NARROW = ["bfloat16", "float16"]


def numbers(variable) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(variable, "float32"))


def check_the_carry_ends_with_an_assignment(make, dtype: str) -> None:
    """Whoever sets a variable sets it to this, and not to something near it."""
    θ = keras.Variable([1000.0, -3.0, 1e-3], dtype=dtype)
    optimizer = make(0.9)
    optimizer.apply([ops.cast([1.0, 0.3, 1e-5], dtype)], [θ])
    θ.assign(ops.zeros(3, dtype))
    rest(optimizer, θ)
    np.testing.assert_array_equal(numbers(θ), 0)


def check_a_constraint_ends_it(make, dtype: str) -> None:
    θ = keras.Variable([0.375, 0.5], dtype=dtype)
    θ.constraint = keras.constraints.NonNeg()
    optimizer = make(2003.0)
    optimizer.apply([ops.cast([1.0, 2.0], dtype)], [θ])
    rest(optimizer, θ)
    np.testing.assert_array_equal(numbers(θ), 0)


def rest(optimizer, θ) -> None:
    """Take a step without a gradient, and without a memory of one."""
    for slot in optimizer._state.slots_in_order:
        slot.assign(ops.zeros(slot.shape, slot.dtype))
    optimizer.apply([ops.zeros(θ.shape, θ.dtype)], [θ])


def averaged_model(dtype: str, swaps: list) -> keras.Model:
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(2, dtype=dtype)
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(Momentum(3e-3, use_ema=True, ema_momentum=0.9), loss="mse")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 3)).astype("float32")
    y = rng.normal(size=(32, 2)).astype("float32")
    model.fit(
        x, y, 8, 4, verbose=0, shuffle=False, validation_data=(x, y), callbacks=swaps
    )
    return model


class Seen(keras.callbacks.Callback):
    """The weights that a validation sees."""

    def __init__(self):
        super().__init__()
        self.weights: list = []

    def on_test_batch_begin(self, batch, logs=None):
        self.weights.append([numbers(w) for w in self.model.weights])


def check_a_swap_changes_nothing_but_what_is_seen(dtype: str, each_epoch: bool) -> None:
    """Weights, averages and carries go on to the last bit as without the callback.

    Keras's own swap of wider variables is a sum and two differences, which round.
    """
    rtol, atol = (1e-5, 1e-6) if dtype == "float32" else (0, 0)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=each_epoch)
    seen, unswapped = Seen(), Seen()
    swapped = averaged_model(dtype, [swap, seen])
    plain = averaged_model(dtype, [unswapped])
    for a, b in zip(swapped.weights, plain.weights, strict=True):
        np.testing.assert_allclose(numbers(a), numbers(b), rtol, atol)
    states = zip(swapped.optimizer.variables, plain.optimizer.variables, strict=True)
    for a, b in states:
        np.testing.assert_allclose(numbers(a), numbers(b), rtol, atol, err_msg=a.path)
    averages = [numbers(w) for w in plain.weights]  # which replaced them at the end
    for a, b in zip(seen.weights[-1], averages, strict=True):
        np.testing.assert_allclose(a, b, rtol, atol)
    assert np.any(seen.weights[-1][0] != unswapped.weights[-1][0])


def check() -> None:
    for dtype in NARROW:
        for make in (SGD, Momentum, Adam):
            check_the_carry_ends_with_an_assignment(make, dtype)
            check_a_constraint_ends_it(make, dtype)
    if keras.backend.backend() == "numpy":  # has no fit
        return
    for dtype in [*NARROW, "float32"]:
        for each_epoch in (False, True):
            check_a_swap_changes_nothing_but_what_is_seen(dtype, each_epoch)
