"""What of a file fits is taken, and what does not is named.

`skip_mismatch` means for the state what it means for the weights.
"""

from __future__ import annotations

import os
import re
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_textbook_opt import SGD, Adam, Momentum
from tests.backends import few, few_on_jax
from tests.same import assert_same

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "SGD": lambda: SGD(0.1),
    "Momentum": lambda: Momentum(0.1, use_ema=True),
    "Adam": lambda: Adam(0.1, gradient_accumulation_steps=2),
    "plain Adam": lambda: Adam(0.1),
    "keras.optimizers.Adam": lambda: keras.optimizers.Adam(0.1),
}


@dataclass(frozen=True)
class Made:
    """How a model is made.

    Args:
        widths: Those of its layers.
        named: Whether the layers have names of their own.
        frozen: Which layer is frozen.
        narrow: Which layer is of 16 bits.
        optimizer: A key of `OPTIMIZERS`; `None` for a model that is not compiled.
        subclass: Whether the layers are attributes, with names of which some are behind
            `optimizer` in an alphabet: Keras loads those after the optimizer.
    """

    widths: tuple[int, ...] = (4, 3, 2)
    named: bool = True
    frozen: int | None = None
    narrow: int | None = None
    optimizer: str | None = "Adam"
    subclass: bool = False

    def layers(self) -> list[keras.layers.Layer]:
        return [
            keras.layers.Dense(
                width,
                name=f"layer_{'abcd'[k]}" if self.named else None,
                dtype="bfloat16" if k == self.narrow else "float32",
                trainable=k != self.frozen,
                bias_initializer="normal",
            )
            for k, width in enumerate(self.widths)
        ]

    def model(self, seed: int, build: bool = False) -> keras.Model:
        keras.utils.set_random_seed(seed)
        model = (
            Attributes(self.layers())
            if self.subclass
            else keras.Sequential([keras.Input((3,)), *self.layers()])
        )
        if self.optimizer is not None:
            loss = keras.losses.MeanSquaredError()
            model.compile(OPTIMIZERS[self.optimizer](), loss, run_eagerly=True)
            if build:
                model.optimizer.build(model.trainable_variables)
        return model


class Attributes(keras.Model):
    def __init__(self, layers: list[keras.layers.Layer]):
        super().__init__()
        self.names = [name for name, _ in zip(("a", "p", "y", "z"), layers)]
        for name, layer in zip(self.names, layers):
            setattr(self, name, layer)
        self(np.zeros((1, 3)))

    def call(self, x):
        for name in self.names:
            x = getattr(self, name)(x)
        return x


def train(model: keras.Model) -> keras.Model:
    """Three steps, an odd count, in the middle of an accumulation of two."""
    variables, rng = model.trainable_variables, np.random.default_rng(3)
    for _ in range(3):
        arrays = [rng.normal(size=v.shape) for v in variables]
        gradients = [keras.ops.convert_to_tensor(g, "float32") for g in arrays]
        model.optimizer.apply(gradients, variables)
    return model


def fit_twice(model: keras.Model) -> None:
    x = np.ones((4, 3), "float32")
    for _ in range(2):
        model.fit(x, np.ones((4, model(x).shape[-1]), "float32"), verbose=0)


def value(variable: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32"))


def state(optimizer: Any) -> list[np.ndarray]:
    return [value(variable) for variable in optimizer.variables]


def beside(optimizer: Any, variable: Any) -> dict[str, np.ndarray]:
    kept = optimizer._state.of(optimizer._var_key(variable)).kept()
    return {kind: value(each) for kind, each in kept.items()}


def load(model: keras.Model, file: Path, **how: Any) -> list[str]:
    """Load, and let the state be there; what was warned of, a line each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.load_weights(file, **how)
        model.optimizer.build(model.trainable_variables)
        assert model.optimizer.variables
    said = [str(each.message) for each in caught]
    ours = [text for text in said if text.startswith("Some of the saved state")]
    assert len(ours) <= (2 if isinstance(model, Attributes) else 1)
    return problems("\n".join(ours))


def problems(message: str) -> list[str]:
    return re.findall("^- (.*)$", message, re.MULTILINE)


DIFFERENCES: dict[str, dict[str, Any]] = {
    "none": {},
    "a head of another width": {"widths": (4, 3, 5)},
    "a hidden layer of another width": {"widths": (4, 6, 2)},
    "a layer more": {"widths": (4, 3, 3, 2)},
    "a layer more, of the width of another": {"widths": (4, 3, 2, 2)},
    "a layer less": {"widths": (4, 2)},
    "the first layer less": {"widths": (3, 2)},
    "a frozen layer": {"frozen": 1},
    "a layer of 16 bits": {"narrow": 1},
    "another optimizer": {"optimizer": "Momentum"},
}
of_every_difference = pytest.mark.parametrize(
    "difference", few([*DIFFERENCES], slice(1, None, 3))
)
made = st.builds(
    Made,
    named=st.booleans(),
    narrow=st.sampled_from([None, 1]),
    optimizer=st.sampled_from(["Adam", "Adam", "Momentum", "SGD"]),
    subclass=st.booleans(),
)
sparingly = settings(max_examples=25 if THOROUGH else 2)


def weights_file(model: keras.Model, folder: str) -> Path:
    model.save_weights(Path(folder) / "of.weights.h5")
    return Path(folder) / "of.weights.h5"


@of_every_difference
@sparingly
@given(saved=made, build=st.booleans(), swapped=st.booleans())
def test_what_fits_is_taken_and_the_rest_starts_afresh(
    difference: str, saved: Made, build: bool, swapped: bool
):
    """Who got whose weights is read off the weights, which no two variables share."""
    here = replace(saved, **DIFFERENCES[difference])
    if swapped:
        saved, here = here, saved
    first, model = train(saved.model(1)), here.model(2, build)
    with tempfile.TemporaryDirectory() as folder:
        named = load(model, weights_file(first, folder), skip_mismatch=True)
    for variable in model.trainable_variables:
        given = beside(model.optimizer, variable)
        source = [v for v in first.trainable_variables if holds(variable, v)]
        theirs = beside(first.optimizer, source[0]) if source else {}
        fits = shapes(theirs) == shapes(given)
        for kind, array in given.items():
            expected = theirs[kind] if fits else np.zeros_like(array)
            np.testing.assert_array_equal(array, expected, err_msg=variable.path)
        assert fits != any(variable.path in line for line in named)
    train(model)


@pytest.mark.needs("fit")
@pytest.mark.parametrize("difference", few_on_jax([*DIFFERENCES][::3], slice(1, 2)))
@pytest.mark.parametrize("build", [True, False], ids=["built", "not built"])
def test_what_does_not_fit_is_named_once_and_training_goes_on(
    difference: str, build: bool, tmp_path
):
    model = replace(Made(), **DIFFERENCES[difference]).model(2, build)
    file = weights_file(train(Made().model(1)), tmp_path)
    named = load(model, file, skip_mismatch=True)
    assert len(named) == len(set(named))
    assert bool(named) == (difference != "none")
    assert value(model.optimizer.variables[0]) == 3  # the count of steps
    fit_twice(model)


@of_every_difference
def test_without_it_the_error_lists_what_differs(difference: str, tmp_path):
    """And nothing that does not, and nothing of the optimizer is assigned."""
    first = train(Made().model(1))
    model = train(replace(Made(), **DIFFERENCES[difference]).model(2))
    kept, expected = kept_by_name(model), kept_by_name(first)
    differing = {
        name
        for name in kept | expected
        if np.shape(kept.get(name, [[[]]])) != np.shape(expected.get(name, [[[]]]))
    }
    file, before = weights_file(first, tmp_path), state(model.optimizer)
    if difference == "none":
        model.load_weights(file)
        return
    with pytest.raises(ValueError, match="objects could not be loaded"):
        model.load_weights(file)
    assert_same(state(model.optimizer), before)
    store: dict[str, np.ndarray] = {}
    first.optimizer.save_own_variables(store)
    with pytest.raises(ValueError, match="Nothing was assigned") as error:
        model.optimizer.load_own_variables(store)
    assert_same(state(model.optimizer), before)
    listed = [line.split(" ")[0] for line in problems(str(error.value))]
    listed = [re.sub("sequential[_0-9]*/", "", name) for name in listed]
    assert sorted(listed) == sorted(differing)


@pytest.mark.parametrize(
    ("build", "trains"), [(False, False), (True, False), (True, True)]
)
@pytest.mark.parametrize("skip", [True, False], ids=["lenient", "strict"])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_a_file_of_weights_alone_leaves_the_optimizer_as_it_is(
    optimizer: str, skip: bool, build: bool, trains: bool, tmp_path
):
    first = Made(optimizer=None).model(1)
    model = Made(optimizer=optimizer).model(2, build)
    if trains:
        train(model)
    before = state(model.optimizer)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Some of the saved state")
        model.load_weights(weights_file(first, tmp_path), skip_mismatch=skip)
    assert_same(state(model.optimizer), before)
    assert_same(model.get_weights(), first.get_weights())
    train(model)


@pytest.mark.parametrize("head", [2, 5])
@pytest.mark.parametrize("build", [True, False], ids=["built", "not built"])
def test_a_file_of_a_built_in_does_not_say_whose_a_value_is(
    head: int, build: bool, tmp_path
):
    """All of it fits, or all of it starts afresh."""
    first = train(Made(optimizer="keras.optimizers.Adam").model(1))
    model = Made((4, 3, head), optimizer="plain Adam").model(2, build)
    file = weights_file(first, tmp_path)
    assert bool(load(model, file, skip_mismatch=True)) == (head != 2)
    slots = state(model.optimizer)[2:]
    if head == 2:
        assert_same(slots, state(first.optimizer)[2:])
    else:
        assert not any(slot.any() for slot in slots)
    train(model)


def kept_by_name(model: keras.Model) -> dict[str, np.ndarray]:
    """What is kept beside each variable, under what a person calls it."""
    return {
        f"{kind.removeprefix('slots/')}/{variable.path.split('/', 1)[1]}": array
        for variable in model.trainable_variables
        for kind, array in beside(model.optimizer, variable).items()
    }


def holds(variable: Any, other: Any) -> bool:
    """Whether one has the value of the other, as 16 bits hold it if one has them."""
    if variable.shape != other.shape:
        return False
    narrow = "bfloat16" in (variable.dtype, other.dtype)
    dtype = "bfloat16" if narrow else "float32"
    one, two = (value(keras.ops.cast(v, dtype)) for v in (variable, other))
    return np.array_equal(one, two)


def shapes(kept: dict[str, np.ndarray]) -> dict[str, tuple]:
    return {kind: array.shape for kind, array in kept.items()}


def unfreeze(model: keras.Model) -> None:
    model.layers[0].trainable = True


CHANGES: dict[str, Callable[[keras.Model], Any]] = {
    "quantized": lambda model: model.layers[1].quantize("int8"),
    "LoRA": lambda model: model.layers[1].enable_lora(2),
    "unfrozen": unfreeze,
}


@pytest.mark.needs("fit")
@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_without_a_word_is_loaded_as_the_error_says(
    change: str, tmp_path: Path
):
    """Without the optimizer; or with it, if it is told before the model is saved."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(4) for _ in range(2)]
    layers[0].trainable = False
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(Adam(0.1), keras.losses.MeanSquaredError(), run_eagerly=True)
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    model.train_on_batch(x, np.ones((4, 4), "float32"))
    CHANGES[change](model)
    model.save(tmp_path / "untold.keras")
    with pytest.raises(ValueError, match=r"`load_model\(\.\.\., compile=False\)`"):
        keras.saving.load_model(tmp_path / "untold.keras")
    weights = keras.saving.load_model(tmp_path / "untold.keras", compile=False)
    model.optimizer.add_variables(model.trainable_variables)
    model.save(tmp_path / "told.keras")
    loaded = keras.saving.load_model(tmp_path / "told.keras")
    for other in (weights, loaded):
        np.testing.assert_allclose(value(other(x)), value(model(x)), rtol=1e-5)
    assert_same(state(loaded.optimizer), state(model.optimizer))
