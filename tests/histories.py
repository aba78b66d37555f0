"""Small models with a history, the routes of their state, and the expected outcome.

After a load, the next steps of each variable are those of the original model, or those
of a new optimizer for this variable alone, and then the one warning names it. Nothing
here knows how a load works.
"""

from __future__ import annotations

import copy
import itertools
import pickle
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_textbook_opt import SGD, Adam, Momentum
from tests.backends import BACKEND
from tests.same import assert_same
from tests.state.stores import document, fit, saved

WIDTH, STEPS = 3, 5
EAGERLY = BACKEND == "jax"  # which compiles programs for two models that round apart
OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "SGD": lambda **more: SGD(0.125, **more),
    "Momentum": lambda **more: Momentum(0.05, nesterov=True, **more),
    "Adam": lambda **more: Adam(0.01, amsgrad=True, **more),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "EMA": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 4},
    "accumulation": {"gradient_accumulation_steps": 2},
    "decay of a list": {"weight_decay": 0.5},
    "patterns": {"weight_decay": 0.5, "exclude_from_weight_decay": ["bias$"]},
}


ENDS_FROZEN = ("frozen", "frozen and set", "refrozen")
AFTER_THE_LOAD = ("frozen after the load", "unfrozen after the load")
STARTS_FROZEN = ("unfrozen", "refrozen", "unfrozen after the load")
# The values that a test draws, by the name of the field.
CHOICES: dict[str, list] = {
    "kind": ["sequential", "functional", "nested", "subclass", "early optimizer"],
    "names": ["auto", "own"],
    "same_order": [True, False],
    "event": ["none", "unfrozen", "another head", *ENDS_FROZEN, *AFTER_THE_LOAD],
    "place": [0, 1, 2],
    "precision": ["float32", "bfloat16", "float16", "mixed_bfloat16", "changed"],
    "optimizer": [*OPTIMIZERS],
    "options": [*OPTIONS],
    "use": ["apply", "fit"],
}


@dataclass(frozen=True)
class History:
    """How a model came to be, how its state travels, and which model receives it."""

    kind: str = "sequential"
    names: str = "auto"  # of the layers
    same_order: bool = True  # in which the receiving model creates its layers
    event: str = "none"  # between two parts of the training, or after the load
    place: int = 0  # of the layer to which it happened
    precision: str = "float32"  # of the middle layer; "changed": float32 to bfloat16
    optimizer: str = "Adam"
    options: str = "plain"
    use: str = "apply"  # takes the first step after the load
    heads: int = WIDTH

    @property
    def marked(self) -> int:
        """The layer with a learning rate of its own, or whose kernel never decays."""
        return (self.place + 1) % 3

    @property
    def frozen(self) -> int | None:
        """The layer that is frozen when the state is saved and loaded."""
        return self.place if self.event in ENDS_FROZEN else None


@keras.saving.register_keras_serializable(package="histories")
class Chain(keras.Model):
    """Three layers in attributes, which Keras loads in alphabetical order."""

    def __init__(self, history: dict[str, Any], **kwargs: Any):
        super().__init__(**kwargs)
        self.history = history
        for k, layer in created_layers(History(**history)):
            setattr(self, ("beta", "gamma", "zeta")[k], layer)

    def build(self, shape):
        for layer in layers_of(self):
            layer.build((None, WIDTH))
        self.built = True

    def call(self, x):
        return self.zeta(self.gamma(self.beta(x)))

    def get_config(self):
        return {"history": dict(self.history), "name": self.name}


def created_layers(history: History) -> list[tuple[int, Any]]:
    """The layers with their places in the model, in the order of creation."""
    precision = "float32" if history.precision == "changed" else history.precision
    names = list("abc") if history.names == "own" else [None] * 3
    layers = []
    for k in (0, 1, 2) if history.same_order else (2, 1, 0):
        is_nested = history.kind == "nested" and k < 2
        layer = keras.layers.Dense(
            history.heads if k == 2 else WIDTH,
            name=names[k] and ("inner" if is_nested else names[k]),
            dtype=precision if k == 1 else "float32",
            bias_initializer="normal",
            trainable=k != history.frozen,
        )
        if is_nested:  # in two inner models, which have layers of the same name
            layer = keras.Sequential([keras.Input((WIDTH,)), layer], name=names[k])
        layers.append((k, layer))
    return layers


def new_model(history: History, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    if history.kind in ("subclass", "early optimizer"):
        model: keras.Model = Chain(vars(history))
        model.build((None, WIDTH))
        return model
    layers = [layer for _, layer in sorted(created_layers(history), key=lambda x: x[0])]
    if history.kind == "sequential":
        return keras.Sequential([keras.Input((WIDTH,)), *layers])
    x = inputs = keras.Input((WIDTH,))
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    if isinstance(model, Chain):
        return [model.beta, model.gamma, model.zeta]
    layers = [x for x in model.layers if not isinstance(x, keras.layers.InputLayer)]
    return [x.layers[0] if isinstance(x, keras.Sequential) else x for x in layers]


def factors_of(history: History, model: keras.Model) -> dict[str, float]:
    """The learning rate multipliers, as patterns on the paths in this model."""
    if history.options != "patterns":
        return {}
    prefix = layers_of(model)[history.marked].kernel.path.removesuffix("kernel")
    return {f"^{prefix}": 0.25, "kernel$": 2.0}


def with_optimizer(history: History, model: keras.Model) -> keras.Model:
    options: dict[str, Any] = dict(OPTIONS[history.options])
    if factors := factors_of(history, model):
        options["learning_rate_multipliers"] = factors
    optimizer = OPTIMIZERS[history.optimizer](**options)
    if history.options == "decay of a list":
        kernel = layers_of(model)[history.marked].kernel
        optimizer.exclude_from_weight_decay(var_list=[kernel])
    return compiled(history, model, optimizer)


def compiled(history: History, model: keras.Model, optimizer: Any) -> keras.Model:
    """`model` with `optimizer`; in one kind in an attribute that is loaded first."""
    if history.kind == "early optimizer":
        model.a_optimizer = optimizer
    else:
        model.compile(optimizer, keras.losses.MeanSquaredError(), run_eagerly=EAGERLY)
    return model


def optimizer_of(model: keras.Model) -> Any:
    return getattr(model, "a_optimizer", None) or model.optimizer


def set_frozen(model: keras.Model, place: int, frozen: bool) -> None:
    layers_of(model)[place].trainable = not frozen


def step(optimizer: Any, variables: list, names: list[int], seed: int) -> None:
    """One step; gradients are drawn by name, and exact in 16 bits too."""
    gradients = []
    for name, variable in zip(names, variables, strict=True):
        drawn = np.random.default_rng([seed, name]).integers(-16, 17, variable.shape)
        gradients.append(keras.ops.convert_to_tensor(drawn / 8, variable.dtype))
    optimizer.apply(gradients, variables)


def train(model: keras.Model, seed: int) -> None:
    """An odd number of steps, in the middle of an accumulation of two."""
    variables = model.trainable_variables
    for k in range(3):
        step(optimizer_of(model), variables, [*range(len(variables))], seed + k)


def lived(history: History) -> keras.Model:
    """A model that was trained, changed and trained again."""
    model = with_optimizer(history, new_model(history, seed=1))
    set_frozen(model, history.place, history.event in STARTS_FROZEN)
    train(model, 10)
    if history.event in ("unfrozen", "refrozen"):
        set_frozen(model, history.place, False)
        optimizer_of(model).set_variables(model.trainable_variables)
        train(model, 20)
    if history.event in ENDS_FROZEN:
        set_frozen(model, history.place, True)
        if history.event != "frozen":
            optimizer_of(model).set_variables(model.trainable_variables)
        train(model, 30)
    return compiled(history, model, optimizer_of(model))


def receiver(history: History, build: bool = False) -> keras.Model:
    """A model of the same structure with other weights, which was not trained."""
    if history.precision == "changed":
        history = replace(history, precision="bfloat16")
    if history.event == "another head":
        history = replace(history, heads=WIDTH + 1)
    model = with_optimizer(history, new_model(history, seed=2))
    if build:
        optimizer_of(model).build(model.trainable_variables)
    return model


WEIGHTS = [
    f".weights.h5, {built}{skip}"
    for built in ("built", "not built")
    for skip in ("", ", skip_mismatch")
]
COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda optimizer: pickle.loads(pickle.dumps(optimizer)),
    "deepcopy": copy.deepcopy,
}
BY_POSITION = [".h5", "get_weights", "tf.train.Checkpoint"]
ROUTES = [
    ".keras",
    *WEIGHTS,
    *COPIES,
    *BY_POSITION[: 3 if BACKEND == "tensorflow" else 2],
]


def sent(model: keras.Model, history: History, route: str, folder: Path) -> keras.Model:
    """Another model, which has to continue as this one would."""
    if route in BY_POSITION:
        optimizer_of(model).build(model.trainable_variables)
    if route in (".keras", ".h5"):
        model.save(folder / f"model{route}")
        other = keras.saving.load_model(folder / f"model{route}")
        other.run_eagerly = EAGERLY
        return other
    other = receiver(history, build=", built" in route or route in BY_POSITION)
    if route in WEIGHTS:
        model.save_weights(folder / "of.weights.h5")
        skip = "skip_mismatch" in route
        other.load_weights(folder / "of.weights.h5", skip_mismatch=skip)
    elif route in COPIES:
        for layer, original in zip(layers_of(other), layers_of(model), strict=True):
            layer.set_weights(original.get_weights())
        compiled(history, other, COPIES[route](optimizer_of(model)))
    elif route == "get_weights":
        other.set_weights(model.get_weights())
        state = model.optimizer.variables
        other.optimizer.set_weights([keras.ops.convert_to_numpy(v) for v in state])
    else:
        import tensorflow as tf

        saves, reads = (
            tf.train.Checkpoint(model=each, optimizer=each.optimizer)
            for each in (model, other)
        )
        reads.read(saves.write(str(folder / "checkpoint"))).expect_partial()
    if history.event == "frozen after the load":
        set_frozen(other, history.place, True)
        compiled(history, other, optimizer_of(other))
    return other


def can_travel(history: History, route: str) -> bool:
    """Whether Keras itself can send the weights of such a model on this route."""
    some_are_fresh = history.event in ("unfrozen after the load", "another head")
    if history.use == "fit" and (some_are_fresh or history.event == "frozen"):
        return False
    if history.kind == "early optimizer" and (
        history.use == "fit" or route not in [*WEIGHTS, *COPIES]
    ):
        return False
    if history.event in AFTER_THE_LOAD:
        return "not built" in route
    if history.event == "another head":
        return "skip_mismatch" in route
    if history.precision == "changed":
        return route in WEIGHTS and history.event == "none"
    if route == ".h5" and (
        history.kind == "subclass" or history.precision == "bfloat16"
    ):
        return False
    # A list of values does not say whose they are: lists of the same order are needed.
    ordered = history.same_order or history.kind != "subclass"
    return route not in BY_POSITION or (ordered and history.event != "frozen")


# The outcome.


@contextmanager
def recorded(about: str = "fresh state|<keras_textbook_opt") -> Iterator[list[str]]:
    """The `UserWarning`s about variables that start fresh, or about what is given."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield said
    messages = [str(w.message) for w in caught if w.category is UserWarning]
    said += [text for text in messages if re.search(about, text)]


def named(said: list[str], variables: list) -> set[int]:
    """The places of the variables that a warning lists."""
    return {
        k
        for k, v in enumerate(variables)
        if re.search(rf"(?<![\w/]){re.escape(v.path)}(?![\w/])", " ".join(said))
    }


def value(variable: Any, dtype: str = "float32") -> np.ndarray:
    cast = keras.ops.cast(keras.ops.cast(variable, dtype), "float32")
    return np.array(keras.ops.convert_to_numpy(cast))


def state_beside(optimizer: Any, variables: list) -> list[dict[str, np.ndarray]]:
    """The arrays beside each of `variables`, which are in the optimizer's order."""
    entries = enumerate(document(store := saved(optimizer))["variables"])
    places = [next(e for e in entries if e[1]["path"] == v.path) for v in variables]
    return [{kind: store[f"{k}.{kind}"] for kind in e["kinds"]} for k, e in places]


def source_of(variable: Any, original: keras.Model) -> Any | None:
    """Whose weights a variable received: no two variables of a model have the same."""
    found = [
        each
        for each in original.variables
        if each.shape == variable.shape
        and np.array_equal(value(each, variable.dtype), value(variable))
    ]
    assert len(found) < 2
    return found[0] if found else None


def alone(
    history: History, model: keras.Model, variable: Any, counts: list
) -> tuple[Any, list]:
    """A new optimizer at these counts of steps, for a copy of one variable."""
    options = OPTIONS[history.options] | {"exclude_from_weight_decay": None}
    undecayed = {
        "patterns": [layer.bias for layer in layers_of(model)],
        "decay of a list": [layers_of(model)[history.marked].kernel],
    }
    if any(variable is each for each in undecayed.get(history.options, [])):
        options["weight_decay"] = None
    for pattern, factor in reversed(factors_of(history, model).items()):
        if pattern in f"^{variable.path}$":
            options["learning_rate_multipliers"] = {"alone": factor}
    contents = keras.ops.convert_to_numpy(variable)
    twin = keras.Variable(contents, dtype=variable.dtype, name="alone")
    optimizer = OPTIMIZERS[history.optimizer](**options)
    optimizer.build([twin])
    assign_counts(optimizer, counts)
    return optimizer, [twin]


def counts_of(optimizer: Any) -> list[np.ndarray]:
    """The optimizer's own state: the steps and the rate."""
    own = itertools.takewhile(lambda v: v.shape == (), optimizer.variables)
    return [keras.ops.convert_to_numpy(v) for v in own]


def assign_counts(optimizer: Any, counts: list[np.ndarray]) -> None:
    for variable, count in zip(optimizer.variables, counts):
        variable.assign(count)


def assert_outcome(history: History, routes: list[str], folder: Path) -> None:
    """Send a model on one route after the other, and train both models further."""
    original = other = lived(history)
    with recorded() as said:
        for k, route in enumerate(routes):
            (folder / str(k)).mkdir()
            other = sent(other, history, route, folder / str(k))
    θ = other.trainable_variables
    sources = [source_of(variable, original) for variable in θ]
    if history.use == "fit":
        expected = sources
        if history.event == "frozen after the load":
            set_frozen(original, history.place, True)
            original.optimizer.set_variables(original.trainable_variables)
        fit(compiled(history, original, original.optimizer), epochs=2)
        with recorded() as late:
            fit(other, epochs=2)
        assert said + late == []
    else:
        expected = continued(history, original, other, sources, said)
    given = state_beside(optimizer_of(other), θ)
    for variable, source, twin, state in zip(θ, sources, expected, given):
        if source is not twin:
            assert_same([value(variable)], [value(twin)], f"{variable.path} is fresh")
            continue
        assert source is not None
        [kept] = state_beside(optimizer_of(original), [source])
        if source.dtype != variable.dtype:
            # A kernel computes one of them, which is only as exact as float32.
            for kind in state.keys() & kept.keys() - {"average", "carry"}:
                np.testing.assert_allclose(state[kind], kept[kind], 2e-6, 1e-7)
            continue
        assert_same([value(variable)], [value(source)], variable.path)
        assert state.keys() == kept.keys()
        for kind, array in state.items():
            assert_same([array], [kept[kind]], f"{kind} of {variable.path}")


def continued(history, original, other, sources, said: list[str]) -> list:
    """Five steps of each variable and of its counterpart, which is returned."""
    optimizer, reference = optimizer_of(other), optimizer_of(original)
    with recorded() as early:  # not about a pattern that is found nowhere
        optimizer.build(θ := other.trainable_variables)
    counts = counts_of(reference)
    assert counts_of(optimizer) == counts
    twins = [alone(history, other, variable, counts) for variable in θ]
    with recorded() as late:
        step(optimizer, θ, [*range(len(θ))], 40)
    assert len(said + early + late) <= 1, [said, early, late]
    fresh = named(said + early + late, θ)
    known = {id(variable) for variable in original.trainable_variables}
    # Where contents do not: in another precision.
    is_told_apart = history.names == "own" or history.same_order
    for k, (variable, source) in enumerate(zip(θ, sources)):
        has_state = source is not None and id(source) in known
        assert has_state or k in fresh, f"{variable.path} is not named"
        if has_state and (variable.dtype == source.dtype or is_told_apart):
            assert k not in fresh, f"{variable.path} is fresh"
    restored = [k for k in range(len(θ)) if k not in fresh]
    for seed in range(40, 40 + STEPS):
        if seed > 40:
            step(optimizer, θ, [*range(len(θ))], seed)
        step(reference, [sources[k] for k in restored], restored, seed)
        for k in fresh:
            step(*twins[k], [k], seed)
    return [twins[k][1][0] if k in fresh else sources[k] for k in range(len(θ))]
