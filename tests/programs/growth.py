"""A model whose list of trainable variables changes, and the optimizer that follows it.

Each fit after a change is compared with that of a new optimizer, which was built on the
new list and given its state by hand. Everything runs on any backend of Keras.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_textbook_opt import Adam, Momentum

STEPS, BATCH, ROWS = 3, 4, 7
EMA: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5}
ACCUMULATES = {"gradient_accumulation_steps": 2}


@dataclass(frozen=True)
class Case:
    """What happens to a model, its optimizer, and whether the steps are compiled."""

    story: str
    kind: type
    arguments: dict[str, Any] = field(default_factory=dict)
    compiled: bool = False

    @property
    def label(self) -> str:
        return "-".join([self.story, self.kind.__name__, *self.arguments])

    def make(self) -> Any:
        return self.kind(0.05, **self.arguments)


def make_model() -> keras.Model:
    keras.utils.set_random_seed(3)
    ids = keras.Input((2,), dtype="int32")
    x = keras.layers.Embedding(ROWS, 4, name="table")(ids)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(8, activation="tanh", name="below")(x)
    x = keras.layers.Dense(8, activation="tanh", name="above")(x)
    return keras.Model(ids, keras.layers.Dense(1, name="head")(x))


def frozen(name: str, is_frozen: bool) -> Callable[[keras.Model], None]:
    def event(model: keras.Model) -> None:
        model.get_layer(name).trainable = not is_frozen

    return event


def lora(name: str) -> Callable[[keras.Model], None]:
    return lambda model: model.get_layer(name).enable_lora(2)


def quantized(name: str) -> Callable[[keras.Model], None]:
    return lambda model: model.get_layer(name).quantize("int8")


# What happens to a model, one after the other, with a fit after each. `below` and
# `above` have variables of the same shapes.
STORIES: dict[str, list[Callable[[keras.Model], None]]] = {
    "freezing": [
        frozen("below", True),
        frozen("below", False),
        frozen("below", True),
        frozen("below", False),
    ],
    "LoRA": [
        frozen("head", False),
        lora("above"),
        lora("table"),
        quantized("below"),
        lora("below"),
    ],
}

AMSGRAD = {"amsgrad": True}
CASES = [
    Case("freezing", Momentum),
    Case("LoRA", Momentum, EMA),
    Case("freezing", Momentum, ACCUMULATES),
    Case("LoRA", Adam, AMSGRAD),
    Case("freezing", Adam, AMSGRAD | EMA, compiled=True),
    Case("LoRA", Adam, AMSGRAD | ACCUMULATES),
]


def fit(model: keras.Model, optimizer: Any, compiled: bool, seed: int) -> None:
    jit = "auto" if keras.backend.backend() == "jax" else False
    model.compile(optimizer, "mse", run_eagerly=not compiled, jit_compile=jit)
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, ROWS, (STEPS * BATCH, 2)).astype("int32")
    targets = rng.normal(size=(STEPS * BATCH, 1)).astype("float32")
    model.fit(ids, targets, batch_size=BATCH, shuffle=False, verbose=0)


def value(variable: Any) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(variable))


def state_of(optimizer: Any) -> dict[Any, dict[str, np.ndarray]]:
    """The values beside each variable, by the variable."""
    return {
        optimizer._var_key(v): {
            kind: value(each)
            for kind, each in optimizer._state.of(optimizer._var_key(v)).kept().items()
        }
        for v in optimizer._trainable_variables
    }


def given_by_hand(case: Case, old: Any, known: dict, variables: list) -> Any:
    """A new optimizer of `variables` with the state of those that are known."""
    new = case.make()
    new.build(variables)
    new._iterations.assign(value(old._iterations))
    for variable in variables:
        beside = new._state.of(new._var_key(variable))
        values = known.get(new._var_key(variable))
        for kind, place in beside.kept().items():
            if values is not None:
                place.assign(values[kind])
            elif kind == "average":
                place.assign(value(variable))
    return new


def weights_of(model: keras.Model) -> list[np.ndarray]:
    return [value(v) for v in model.variables]


def put(model: keras.Model, weights: list[np.ndarray]) -> None:
    for variable, weight in zip(model.variables, weights, strict=True):
        variable.assign(weight)


def check_story(case: Case) -> None:
    model, optimizer = make_model(), case.make()
    first, *events = STORIES[case.story]
    first(model)
    fit(model, optimizer, case.compiled, seed=0)
    for k, event in enumerate(events, 1):
        known = state_of(optimizer)
        event(model)
        optimizer.add_variables(model.trainable_variables)
        expected = given_by_hand(case, optimizer, known, model.trainable_variables)
        start = weights_of(model)
        fit(model, expected, case.compiled, seed=k)
        finish = weights_of(model)
        put(model, start)
        fit(model, optimizer, case.compiled, seed=k)
        assert_same(weights_of(model), finish, f"{case.label}, {k}")
        assert any(np.any(a != b) for a, b in zip(start, finish))
        values = zip(optimizer.variables, expected.variables, strict=True)
        for own, other in values:
            np.testing.assert_array_equal(value(own), value(other), own.path)


def assert_same(given: list, expected: list, message: str) -> None:
    for a, b in zip(given, expected, strict=True):
        np.testing.assert_array_equal(a, b, message)


def two_layers() -> keras.Model:
    keras.utils.set_random_seed(4)
    layers = [keras.layers.Dense(4, use_bias=False) for _ in range(2)]
    return keras.Sequential([keras.Input((4,)), *layers])


def fit_two_layers(model: keras.Model, optimizer: Any, compiled: bool) -> None:
    model.compile(optimizer, "mse", run_eagerly=not compiled)
    go_on(model)


def go_on(model: keras.Model) -> None:
    x, y = np.random.default_rng(5).normal(size=(2, 8, 4)).astype("float32")
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0)


def check_averages_stay_in_their_layers(event: str, compiled: bool) -> None:
    """With η = 0 the averages are the kernels, and the end of a fit changes nothing."""
    model = two_layers()
    optimizer = Momentum(0.0, **EMA)
    before = weights_of(model)
    model.layers[0].trainable = event == "frozen"
    fit_two_layers(model, optimizer, compiled)
    model.layers[0].trainable = event != "frozen"
    optimizer.add_variables(model.trainable_variables)
    for _ in range(2):
        fit_two_layers(model, optimizer, compiled)
        assert_same(weights_of(model), before, event)


def check_newcomers_alone(place: int) -> None:
    """They are appended. JAX needs them at the end of the model's list."""
    model, followed = two_layers(), two_layers()
    results = []
    for each, whole_list in ((model, False), (followed, True)):
        optimizer = Adam(0.01)
        each.layers[place].trainable = False
        fit_two_layers(each, optimizer, False)
        each.layers[place].trainable = True
        new = each.layers[place].trainable_variables
        optimizer.add_variables(each.trainable_variables if whole_list else new)
        try:
            for _ in range(2):
                fit_two_layers(each, optimizer, False)
        except ValueError as error:
            assert keras.backend.backend() == "jax" and place == 0 and not whole_list
            assert "in the place of `add_variables` with the new ones" in str(error)
            return
        results.append(weights_of(each))
    assert keras.backend.backend() != "jax" or place == 1
    assert_same(results[0], results[1], "appended")


def check() -> None:
    thorough = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
    for case in CASES if thorough else CASES[1:5:3]:
        check_story(case)
    for event in ("frozen", "unfrozen"):
        check_averages_stay_in_their_layers(event, compiled=True)
    for place in (0, 1):
        check_newcomers_alone(place)
