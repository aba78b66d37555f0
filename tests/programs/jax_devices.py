"""On JAX: fits that end with averages, and state that is sharded with its variable."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

from typing import Any

import jax
import keras
import numpy as np

from keras_textbook_opt import Adam, Momentum
from tests.trainer import kept

EMA: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5}


def make_model(dtype: str) -> keras.Model:
    keras.utils.set_random_seed(6)
    layers = [keras.layers.Dense(4, dtype=each) for each in (dtype, "float32")]
    return keras.Sequential([keras.Input((4,)), *layers])


def fit(model: keras.Model, seed: int) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, 12, 4)).astype("float32")
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0)


def numbers(variable: Any) -> np.ndarray:
    value = keras.ops.cast(variable, "float32")
    return np.array(keras.ops.convert_to_numpy(value))


def check_fits_go_on_after_averages(dtype: str, grows: bool) -> None:
    """Fits in a row, compiled, are those that each start with buffers of their own."""
    ended = []
    for copies in (False, True):
        model, optimizer = make_model(dtype), Momentum(0.05, **EMA)
        model.layers[0].trainable = not grows
        for seed in range(4):
            if seed == 2 and grows:
                model.layers[0].trainable = True
                optimizer.set_variables(model.trainable_variables)
            if seed in (0, 2):
                model.compile(optimizer, "mse")
            if copies:
                for variable in model.variables + optimizer.variables:
                    variable.assign(np.array(variable.value))
            fit(model, seed)
        ended.append([numbers(v) for v in model.variables + optimizer.variables])
    for a, b in zip(*ended, strict=True):
        np.testing.assert_array_equal(a, b)


def check_state_is_sharded(dtype: str, arguments: dict[str, Any]) -> None:
    model, optimizer = make_model(dtype), Adam(0.01, amsgrad=True, **arguments)
    optimizer.build(model.trainable_variables)
    assert_sharded(model, optimizer)
    model.compile(optimizer, "mse")
    fit(model, 0)
    assert_sharded(model, optimizer)


def assert_sharded(model: keras.Model, optimizer: Adam) -> None:
    assert not model.layers[0].kernel.value.sharding.is_fully_replicated
    for variable in model.trainable_variables:
        sharding = variable.value.sharding
        state = kept(optimizer, variable)
        assert ("carry" in state) == (variable.dtype == "bfloat16")
        for kind, beside in state.items():
            given = beside.value.sharding
            same = given.is_equivalent_to(sharding, len(variable.shape))
            assert same, (variable.path, kind, given, sharding)


def check() -> None:
    check_fits_go_on_after_averages("bfloat16", grows=True)
    check_fits_go_on_after_averages("float32", grows=False)
    assert len(jax.devices()) == 2
    mesh = keras.distribution.DeviceMesh((1, 2), ["batch", "model"])
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*kernel"] = (None, "model")
    layout[".*bias"] = ("model",)
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")
    )
    check_state_is_sharded("bfloat16", EMA | {"gradient_accumulation_steps": 2})


if __name__ == "__main__":
    check()
