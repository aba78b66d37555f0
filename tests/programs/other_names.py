"""Train layer by layer, save, and go on in a process where layers have other names.

The arguments are the backend, `save` or `go_on`, and the folder of the files.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = sys.argv[1]

import itertools
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_textbook_opt import Adam, layerwise_decay

X = np.random.default_rng(1).normal(size=(8, 3)).astype("float32")
DECAY = 0.5


def sequential() -> keras.Model:
    inner = keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(3)])
    return keras.Sequential([keras.Input((3,)), inner, keras.layers.Dense(3)])


def functional() -> keras.Model:
    x = inputs = keras.Input((3,))
    for _ in range(2):
        x = keras.layers.Add()([x, keras.layers.Dense(3)(x)])
    return keras.Model(inputs, keras.layers.Dense(3)(x))


KINDS = {"sequential": sequential, "functional": functional}
# How many layers were made before: after 1, `dense_1` is there what `dense` is here.
CASES = list(itertools.product(KINDS, (1, 3)))


def compiled(kind: str) -> keras.Model:
    """No layer is given a name: Keras counts."""
    model = KINDS[kind]()
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.weights])
    factors = layerwise_decay(model, DECAY)
    optimizer = Adam(0.01, weight_decay=0.1, learning_rate_multipliers=factors)
    model.compile(optimizer, "mse")
    return model


def train(model: keras.Model) -> None:
    model.fit(X, X[:, ::-1], batch_size=2, shuffle=False, verbose=0)


def factors_of(model: keras.Model) -> list[float]:
    return [model.optimizer._beside(v).factor for v in model.trainable_variables]


def numbers(model: keras.Model) -> list[Any]:
    values = [*model.weights, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(v) for v in values]


def save(folder: Path) -> None:
    for kind, others in CASES:
        keras.utils.clear_session()  # which counts from the start
        for _ in range(others):
            keras.layers.Dense(1)
        model, label = compiled(kind), f"{kind}_{others}"
        train(model)
        model.save(folder / f"{label}.keras")
        model.save_weights(folder / f"{label}.weights.h5")
        _note(folder, f"{label} was", model)
        train(model)
        np.savez(folder / f"{label}.npz", *numbers(model))


def go_on(folder: Path) -> None:
    for kind, others in CASES:
        keras.utils.clear_session()
        own, label = compiled(kind), f"{kind}_{others}"
        own.load_weights(folder / f"{label}.weights.h5")
        loaded = keras.saving.load_model(folder / f"{label}.keras")
        for way, model in {"own": own, "loaded": loaded}.items():
            train(model)
            _note(folder, f"{label} {way}", model)
            with np.load(folder / f"{label}.npz") as expected:
                for value, number in zip(expected.values(), numbers(model)):
                    np.testing.assert_array_equal(number, value, f"{label} {way}")


def _note(folder: Path, label: str, model: keras.Model) -> None:
    paths = [variable.path for variable in model.trainable_variables]
    note = json.dumps([paths, factors_of(model)])
    (folder / f"{label}.json").write_text(note)


if __name__ == "__main__":
    {"save": save, "go_on": go_on}[sys.argv[2]](Path(sys.argv[3]))
