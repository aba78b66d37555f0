"""Leave files in a folder, and go on from those that other backends leave there.

The arguments are the backend, the folder, and the backends whose files to go on from.
"""

from __future__ import annotations

import os
import sys
import time

if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = sys.argv[1]

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_textbook_opt import SGD, Adam, Momentum

OPTIMIZERS = {
    "Momentum": lambda: Momentum(0.05, nesterov=True, use_ema=True),
    "Adam": lambda: Adam(0.01, amsgrad=True, gradient_accumulation_steps=2),
}
PATIENCE = 300  # seconds
STEPS, MORE = 3, 4  # an odd count, in the middle of an accumulation of two


def make_model(optimizer: Any, dtype: str = "bfloat16") -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = [  # few shapes, since JAX compiles each operation for each of them
        keras.layers.Dense(3, use_bias=False, dtype=dtype, name="hidden"),
        keras.layers.Dense(3, use_bias=False, name="head"),
    ]
    model = keras.Sequential([keras.Input((3,)), *layers])
    # The initial weights are those of a generator that all backends share.
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(size=w.shape) for w in model.weights])
    model.compile(optimizer, keras.losses.MeanSquaredError())
    return model


def step(optimizer: Any, variables: list, steps: range) -> None:
    """Gradients are given, so that nothing but the optimizer differs."""
    for k in steps:
        rng = np.random.default_rng([7, k])
        gradients = [rng.normal(size=v.shape) for v in variables]
        optimizer.apply(
            [ops.cast(g, v.dtype) for g, v in zip(gradients, variables)], variables
        )


def numbers(variables: list) -> list[np.ndarray]:
    return [ops.convert_to_numpy(ops.cast(v, "float32")) for v in variables]


def everything(model: keras.Model) -> list[np.ndarray]:
    return numbers([*model.weights, *model.optimizer.variables])


def save(folder: Path) -> None:
    for name, make in OPTIMIZERS.items():
        label = folder / f"{keras.backend.backend()}-{name}"
        model = make_model(make())
        step(model.optimizer, model.trainable_variables, range(STEPS))
        model.save(f"{label}.keras")
        model.save_weights(f"{label}.weights.h5")
        at = everything(model)
        step(model.optimizer, model.trainable_variables, range(STEPS, STEPS + MORE))
        np.savez(f"{label}.npz", *at, *everything(model))
    (folder / keras.backend.backend()).touch()


def load(folder: Path, *backends: str) -> None:
    """Each as soon as it is there; they run side by side."""
    for backend in {*backends} - {keras.backend.backend()}:
        for _ in range(10 * PATIENCE):
            if not (folder / backend).exists():
                time.sleep(0.1)
        for name in OPTIMIZERS:
            label = folder / f"{backend}-{name}"
            model = make_model(OPTIMIZERS[name]())
            if name == "Adam":  # the other waits for its variables
                model.optimizer.build(model.trainable_variables)
            model.load_weights(f"{label}.weights.h5")
            for each in (model, keras.saving.load_model(f"{label}.keras")):
                check_goes_on(each, [*np.load(f"{label}.npz").values()])


def check_goes_on(model: keras.Model, expected: list) -> None:
    model.optimizer.build(model.trainable_variables)
    half = len(expected) // 2
    for given, value in zip(everything(model), expected[:half], strict=True):
        np.testing.assert_array_equal(given, value)
    step(model.optimizer, model.trainable_variables, range(STEPS, STEPS + MORE))
    for given, value in zip(everything(model), expected[half:], strict=True):
        np.testing.assert_allclose(given, value, rtol=1e-5, atol=1e-5)


def check_set_weights() -> None:
    """Values are what counts, whatever the width of the float or the integer."""
    model = make_model(Adam(0.01))
    optimizer = model.optimizer
    step(optimizer, model.trainable_variables, range(STEPS))
    weights = [ops.convert_to_numpy(v) for v in optimizer.variables]
    step(optimizer, model.trainable_variables, range(STEPS, STEPS + MORE))
    for count in ("int32", "int64", "uint8", "float64"):
        wide = [w.astype("float64") for w in weights[1:]]
        optimizer.set_weights([weights[0].astype(count), *wide])
        for given, value in zip(optimizer.variables, weights, strict=True):
            np.testing.assert_array_equal(ops.convert_to_numpy(given), value)
    before = everything(model)
    limit = np.iinfo(ops.convert_to_numpy(optimizer.variables[0]).dtype).max
    too_much = [np.asarray(limit, "uint64") + np.uint64(1), *weights[1:]]
    refused(optimizer, too_much, "cannot hold")
    refused(optimizer, [np.asarray(2.5), *weights[1:]], "dtype float")
    refused(optimizer, [*weights, np.zeros(2)], f"not {len(weights) + 1}")
    for given, value in zip(everything(model), before, strict=True):
        np.testing.assert_array_equal(given, value)


def refused(optimizer: Any, weights: list, why: str) -> None:
    try:
        optimizer.set_weights(weights)
    except ValueError as error:
        assert why in str(error) and "Nothing was assigned" in str(error), error
    else:
        raise AssertionError(f"expected an error: {why}")


def check_built_ins() -> None:
    """From `keras.optimizers` and back the next steps are the same."""
    pairs = [
        (SGD, keras.optimizers.SGD(0.05)),
        (Momentum, keras.optimizers.SGD(0.05, momentum=0.8, nesterov=True)),
        (Adam, keras.optimizers.Adam(0.01, amsgrad=True)),
        (Adam, keras.optimizers.AdamW(0.01, weight_decay=0.1)),
    ]
    for ours, built_in in pairs:
        model = make_model(built_in, "float32")
        variables = model.trainable_variables
        step(built_in, variables, range(STEPS))
        at = numbers(variables)
        taken_over = ours.from_keras(built_in)
        back = taken_over.to_keras()
        assert isinstance(back, keras.optimizers.Optimizer)
        assert not isinstance(back, ours)
        after = []
        for optimizer in (built_in, taken_over, back):
            for variable, value in zip(variables, at):
                variable.assign(value)
            step(optimizer, variables, range(STEPS, STEPS + MORE))
            after.append(numbers(variables))
        for given, value in zip(after[1] + after[2], after[0] * 2, strict=True):
            np.testing.assert_allclose(given, value, rtol=2e-5, atol=2e-6)


if __name__ == "__main__":
    assert keras.backend.backend() == sys.argv[1]
    where = Path(sys.argv[2])
    save(where)
    load(where, *sys.argv[3:])
    check_set_weights()
    check_built_ins()
