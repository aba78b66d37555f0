"""An optimizer that was given the model's new list is as one built on that list.

Each fit after a change is compared with that of a new optimizer, which was built on the
new list and given its state by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import pytest

from keras_textbook_opt import Adam, Momentum
from tests.backends import BACKEND, few, few_on_jax, numbers
from tests.same import assert_same

pytestmark = pytest.mark.needs("fit")

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
    jit = "auto" if BACKEND == "jax" else False
    model.compile(optimizer, "mse", run_eagerly=not compiled, jit_compile=jit)
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, ROWS, (STEPS * BATCH, 2)).astype("int32")
    targets = rng.normal(size=(STEPS * BATCH, 1)).astype("float32")
    model.fit(ids, targets, batch_size=BATCH, shuffle=False, verbose=0)


def state_of(optimizer: Any) -> dict[Any, dict[str, np.ndarray]]:
    """The values beside each variable, by the variable."""
    return {
        optimizer._var_key(v): {
            kind: numbers(each)
            for kind, each in optimizer._state.of(optimizer._var_key(v)).kept().items()
        }
        for v in optimizer._trainable_variables
    }


def given_by_hand(case: Case, old: Any, known: dict, variables: list) -> Any:
    """A new optimizer of `variables` with the state of those that are known."""
    new = case.make()
    new.build(variables)
    new._iterations.assign(numbers(old._iterations))
    for variable in variables:
        beside = new._state.of(new._var_key(variable))
        values = known.get(new._var_key(variable))
        for kind, place in beside.kept().items():
            if values is not None:
                place.assign(values[kind])
            elif kind == "average":
                place.assign(numbers(variable))
    return new


def weights_of(model: keras.Model) -> list[np.ndarray]:
    return [numbers(v) for v in model.variables]


def put(model: keras.Model, weights: list[np.ndarray]) -> None:
    for variable, weight in zip(model.variables, weights, strict=True):
        variable.assign(weight)


# JAX compiles the operations of a layer that was quantized one by one.
QUICK = slice(4, 5) if BACKEND == "jax" else slice(3, 5)


@pytest.mark.parametrize("case", few(CASES, QUICK), ids=lambda case: case.label)
def test_the_next_fit_is_that_of_an_optimizer_built_on_the_list(case: Case):
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
            np.testing.assert_array_equal(numbers(own), numbers(other), own.path)


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


@pytest.mark.parametrize("compiled", few_on_jax([True, False], slice(1)))
@pytest.mark.parametrize("event", ["frozen", "unfrozen"])
def test_averages_stay_in_their_layers(event: str, compiled: bool):
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


@pytest.mark.parametrize("place", [0, 1])
def test_newcomers_alone_are_appended(place: int):
    """JAX needs them at the end of the model's list, and says so."""
    model, followed = two_layers(), two_layers()
    for each in (model, followed):
        optimizer = Adam(0.01)
        each.layers[place].trainable = False
        fit_two_layers(each, optimizer, False)
        each.layers[place].trainable = True
        whole = each.trainable_variables
        new = each.layers[place].trainable_variables
        optimizer.add_variables(whole if each is followed else new)
        if BACKEND == "jax" and place == 0 and each is model:
            with pytest.raises(
                ValueError, match=r"add_variables\(model.trainable_variables\)"
            ):
                fit_two_layers(each, optimizer, False)
            return
        for _ in range(2):
            fit_two_layers(each, optimizer, False)
    assert_same(weights_of(model), weights_of(followed), "appended")


@pytest.mark.needs("jax")
@pytest.mark.parametrize("arguments", [{}, EMA], ids=["", "use_ema"])
def test_a_fit_that_fails_says_why(arguments: dict[str, Any]):
    """Keras ends the training of a fit that failed, too, and has no variables then."""
    model, optimizer = two_layers(), Adam(0.01, **arguments)
    fit_two_layers(model, optimizer, compiled=True)
    model.layers[0].trainable = False
    with pytest.raises(ValueError, match="add_variables"):
        fit_two_layers(model, optimizer, compiled=True)


@pytest.mark.needs("graphs")
@pytest.mark.parametrize("place", [0, 1])
def test_a_model_that_was_not_compiled_again_is_found_out(place: int):
    """TensorFlow goes on with the graph of before."""
    model, optimizer = two_layers(), Adam(0.01)
    model.layers[place].trainable = False
    fit_two_layers(model, optimizer, compiled=True)
    model.layers[place].trainable = True
    optimizer.add_variables(model.trainable_variables)
    with pytest.raises(ValueError, match="compiled again after `add_variables`"):
        go_on(model)
    fit_two_layers(model, optimizer, compiled=True)
