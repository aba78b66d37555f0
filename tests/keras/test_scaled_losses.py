"""Where Keras scales the loss of a model, its state is saved and goes on all the same.

On JAX, the loader of `.h5` files is the exception, and its first step says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_textbook_opt import Adam, Momentum
from tests.backends import BACKEND, few, few_on_jax, numbers
from tests.same import assert_same

pytestmark = pytest.mark.needs("fit")

OPTIMIZERS: dict[str, Any] = {
    "Momentum": lambda: Momentum(0.05, use_ema=True, ema_momentum=0.5),
    "Adam": lambda: Adam(0.01, amsgrad=True),
}
EAGERLY = BACKEND != "jax"  # which compiles a branch each time
FILES = [".keras", ".h5", ".weights.h5"]
SAID = "compile it with `model.optimizer.inner_optimizer` before the first step"


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


def values(variables: list) -> list[np.ndarray]:
    return [numbers(v) for v in variables]


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


@pytest.fixture(autouse=True)
def policy():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


# Keras's wrapper does not load its two own variables before it is built.
@pytest.mark.filterwarnings("ignore:Skipping variable loading:UserWarning")
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name", few([*OPTIMIZERS], slice(1)))
def test_training_goes_on(name: str, file: str, tmp_path: Path):
    model = new_model(name, seed=1)
    fit(model, 10)
    other = sent(model, name, file, tmp_path)
    if BACKEND == "jax" and file == ".h5":
        with pytest.raises(ValueError, match=SAID):
            fit(other, 11)  # the wrapper believes that it has no variables
        other = sent(model, name, file, tmp_path)
        compiled(other, other.optimizer.inner_optimizer)
    for seed in (11, 12):
        fit(model, seed)
        fit(other, seed)
        ended = values(all_of(model)), values(all_of(other))
        assert_same(*ended, f"{name}, {file}, {seed}")


def all_of(model: keras.Model) -> list:
    return model.variables + model.optimizer.inner_optimizer.variables


@pytest.mark.parametrize("name", few_on_jax([*OPTIMIZERS], slice(1, None)))
def test_an_infinite_gradient_leaves_the_state(name: str):
    model = new_model(name, seed=1)
    fit(model, 10)
    before = values(all_of(model))
    (scale,) = values([model.optimizer.dynamic_scale])
    x = np.ones((4, 4), "float32")
    x[0, 0] = np.inf
    # Not `fit`, at whose end the averages replace the variables.
    model.train_on_batch(x, np.ones((4, 4), "float32"))
    assert_same(before, values(all_of(model)))
    assert values([model.optimizer.dynamic_scale]) == [scale / 2]
