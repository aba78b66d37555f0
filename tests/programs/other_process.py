"""Save models in one process, and continue from their files in another one.

The arguments are the backend, an action (`save` or `resume`), the folder and, for
`resume`, the backend that saved.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = sys.argv[1]

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.optimizers import schedules

STEPS, MORE = 3, 4  # an odd count, in the middle of an accumulation of two


def optimizers() -> dict[str, Any]:
    from keras_textbook_opt import SGD, Adam, Momentum

    @keras.saving.register_keras_serializable(package="other_process")
    def rate() -> float:
        return 0.05

    return {
        "SGD": SGD(rate, clipnorm=0.5, weight_decay=0.2, name="mine"),
        "Momentum": Momentum(
            schedules.CosineDecay(0.05, 9, warmup_target=0.2, warmup_steps=4),
            nesterov=True,
            use_ema=True,
            ema_momentum=0.6,
            learning_rate_multipliers={"^table": 0.5, "bias": 0.0},
        ),
        "Adam": Adam(
            0.01,
            amsgrad=True,
            epsilon=1e-3,
            global_clipnorm=0.3,
            weight_decay=0.3,
            exclude_from_weight_decay=["bias"],
            gradient_accumulation_steps=2,
        ),
    }


def new_model(optimizer: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    ids = keras.Input((2,), dtype="int32")
    x = keras.layers.Embedding(4, 3, name="table")(ids)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(3, dtype="bfloat16", name="hidden")(x)
    model = keras.Model(ids, keras.layers.Dense(3)(x))
    # The initial weights are those of a generator that all backends share.
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(size=w.shape) for w in model.weights])
    model.compile(optimizer, keras.losses.MeanSquaredError())
    return model


def step(model: keras.Model, steps: range) -> None:
    """Gradients are given, so that nothing but the optimizer differs."""
    variables = model.trainable_variables
    for k in steps:
        rng = np.random.default_rng([7, k])
        drawn = [rng.normal(size=v.shape) for v in variables]
        gradients = [keras.ops.cast(g, v.dtype) for g, v in zip(drawn, variables)]
        model.optimizer.apply(gradients, variables)


def everything(model: keras.Model) -> list[np.ndarray]:
    variables = [*model.weights, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(keras.ops.cast(v, "float32")) for v in variables]


def config_of(model: keras.Model) -> str:
    config = keras.optimizers.serialize(model.optimizer)
    del config["config"]["name"]  # Keras counts names within a process
    return json.dumps(config, sort_keys=True)


def save(folder: Path) -> None:
    for name, optimizer in optimizers().items():
        model, label = new_model(optimizer), folder / f"{keras.config.backend()}-{name}"
        step(model, range(STEPS))
        model.save(f"{label}.keras")
        model.save_weights(f"{label}.weights.h5")
        Path(f"{label}.pickle").write_bytes(pickle.dumps(optimizer))
        Path(f"{label}.json").write_text(config_of(model))
        at = everything(model)
        step(model, range(STEPS, STEPS + MORE))
        np.savez(f"{label}.npz", *at, *everything(model))


def resume(folder: Path, saved_by: str) -> None:
    for name in optimizers():
        label = folder / f"{saved_by}-{name}"
        own = new_model(optimizers()[name])
        own.load_weights(f"{label}.weights.h5")
        models = [own, keras.saving.load_model(f"{label}.keras")]
        if saved_by == keras.config.backend():
            models.append(new_model(pickle.loads(Path(f"{label}.pickle").read_bytes())))
            models[-1].set_weights(own.get_weights())
        expected = [*np.load(f"{label}.npz").values()]
        for model in models:
            assert config_of(model) == Path(f"{label}.json").read_text()
            check_continues(model, expected, exactly=saved_by == keras.config.backend())


def check_continues(model: keras.Model, expected: list, exactly: bool) -> None:
    model.optimizer.build(model.trainable_variables)
    half = len(expected) // 2
    for given, value in zip(everything(model), expected[:half], strict=True):
        np.testing.assert_array_equal(given, value)
    step(model, range(STEPS, STEPS + MORE))
    tolerance = 0 if exactly else 1e-5
    for given, value in zip(everything(model), expected[half:], strict=True):
        np.testing.assert_allclose(given, value, rtol=tolerance, atol=tolerance)


if __name__ == "__main__":
    assert keras.config.backend() == sys.argv[1]
    actions: dict[str, Callable[..., None]] = {"save": save, "resume": resume}
    actions[sys.argv[2]](Path(sys.argv[3]), *sys.argv[4:])
