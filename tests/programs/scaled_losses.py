"""Under `mixed_float16` Keras wraps the optimizer, and its state travels all the same.

Everything runs on any backend of Keras.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_textbook_opt import Adam, Momentum

OPTIMIZERS: dict[str, Any] = {
    "Momentum": lambda: Momentum(0.05, use_ema=True, ema_momentum=0.5),
    "Adam": lambda: Adam(0.01, amsgrad=True),
}
EAGERLY = keras.backend.backend() != "jax"  # which compiles a branch each time
FILES = [".keras", ".h5", ".weights.h5"]


def new_model(name: str, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(4) for _ in range(2)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    return compiled(model, OPTIMIZERS[name]())


def compiled(model: keras.Model, optimizer: Any) -> keras.Model:
    model.compile(optimizer, keras.losses.MeanSquaredError(), run_eagerly=EAGERLY)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    return model


def fit(model: keras.Model, seed: int) -> None:
    # Small, so that no gradient overflows.
    x, y = np.random.default_rng(seed).normal(0, 0.1, (2, 12, 4)).astype("float32")
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0)


def numbers(variables: list) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def sent(model: keras.Model, name: str, file: str, folder: Path) -> keras.Model:
    """Another model, which has read what `model` has written."""
    if file == ".weights.h5":
        model.save_weights(folder / "of.weights.h5")
        other = new_model(name, seed=2)
        other.load_weights(folder / "of.weights.h5")
        return other
    model.save(folder / f"model{file}")
    other = keras.saving.load_model(folder / f"model{file}")
    other.run_eagerly = EAGERLY
    return other


def check_goes_on(name: str, file: str) -> None:
    model = new_model(name, seed=1)
    fit(model, 10)
    with tempfile.TemporaryDirectory() as folder:
        other = sent(model, name, file, Path(folder))
        if keras.backend.backend() == "jax" and file == ".h5":
            assert_first_step_says_what_to_do(other)
            other = sent(model, name, file, Path(folder))
            compiled(other, other.optimizer.inner_optimizer)
    for seed in (11, 12):
        fit(model, seed)
        fit(other, seed)
        pairs = zip(numbers(all_of(model)), numbers(all_of(other)), strict=True)
        for a, b in pairs:
            np.testing.assert_array_equal(a, b, f"{name}, {file}, {seed}")


def all_of(model: keras.Model) -> list:
    return model.variables + model.optimizer.inner_optimizer.variables


def assert_first_step_says_what_to_do(model: keras.Model) -> None:
    """The wrapper believes that it has no variables."""
    try:
        fit(model, 11)
    except ValueError as error:
        said = "compile it with `model.optimizer.inner_optimizer` before the first step"
        assert said in str(error), error
    else:
        raise AssertionError("Expected an error at the first step")


def check_an_infinite_gradient_leaves_the_state(name: str) -> None:
    model = new_model(name, seed=1)
    fit(model, 10)
    before = numbers(all_of(model))
    (scale,) = numbers([model.optimizer.dynamic_scale])
    x = np.ones((4, 4), "float32")
    x[0, 0] = np.inf
    # Not `fit`, at whose end the averages replace the variables.
    model.train_on_batch(x, np.ones((4, 4), "float32"))
    for a, b in zip(before, numbers(all_of(model)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert numbers([model.optimizer.dynamic_scale]) == [scale / 2]


@contextlib.contextmanager
def mixed_float16() -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def check() -> None:
    with mixed_float16():
        for file in FILES:
            check_goes_on("Momentum", file)
        check_an_infinite_gradient_leaves_the_state("Adam")
