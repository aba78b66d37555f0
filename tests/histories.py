"""Small models with a history, and the routes on which their state can travel.

A history says how a model is built, what happened to it while it was trained, and how
the model is made that receives its state. Everything runs on any backend of Keras.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_textbook_opt import SGD, Adam, Momentum

WIDTH = 4
OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "SGD": lambda **more: SGD(0.1, **more),
    "Momentum": lambda **more: Momentum(0.05, **more),
    "Adam": lambda **more: Adam(0.01, amsgrad=True, **more),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "EMA": {"use_ema": True, "ema_momentum": 0.5},
    "accumulation": {"gradient_accumulation_steps": 2},
    "decay": {"weight_decay": 0.3},
}
KINDS = ["sequential", "functional", "subclass"]
NAMES = ["auto", "by hand"]
EVENTS = [
    "at once",
    "unfrozen",
    "unfrozen, appended",
    "frozen",
    "frozen, followed",
    "refrozen",
]
POLICIES = ["float32", "bfloat16", "mixed_bfloat16"]


@dataclass(frozen=True)
class History:
    """How a model came to be what it is.

    Args:
        kind: What is made of the three layers.
        names: Whether the layers have names of their own.
        event: What happened between the two halves of its training.
        frozen: Which layer it happened to.
        policy: The dtype policy of the middle layer.
        optimizer: A key of `OPTIMIZERS`.
        options: A key of `OPTIONS`.
        excluded: Which layer's kernel does not decay; `None` for all decay.
        multiplied: Which layer has a rate of its own, but for one that is frozen at
            first; `None` for none.
        made_in_order: Whether the layers of the receiving model are made in the order
            in which those of the first were.
    """

    kind: str = "sequential"
    names: str = "auto"
    event: str = "at once"
    frozen: int = 0
    policy: str = "float32"
    optimizer: str = "Adam"
    options: str = "plain"
    excluded: int | None = None
    multiplied: int | None = None
    made_in_order: bool = True


# What a test draws from, by the name of the field.
DRAWN: dict[str, list] = {
    "kind": KINDS,
    "names": NAMES,
    "event": EVENTS,
    "frozen": [0, 1, 2],
    "policy": POLICIES,
    "optimizer": list(OPTIMIZERS),
    "options": list(OPTIONS),
    "excluded": [None, 0, 1, 2],
    "multiplied": [None, 0, 1, 2],
    "made_in_order": [True, False],
}


@keras.saving.register_keras_serializable(package="histories")
class Chain(keras.Model):
    """Three layers in attributes, which Keras saves under the names of those."""

    def __init__(
        self,
        made_as: dict[str, Any],
        in_order: bool = True,
        frozen: tuple[int, ...] = (),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.made_as, self.in_order = made_as, in_order
        for k, layer in made(History(**made_as), in_order):
            layer.trainable = k not in frozen
            setattr(self, ("alpha", "beta", "gamma")[k], layer)

    def build(self, shape):
        for layer in (self.alpha, self.beta, self.gamma):
            layer.build((None, WIDTH))
        self.built = True

    def call(self, x):
        return self.gamma(self.beta(self.alpha(x)))

    def get_config(self):
        layers = enumerate(layers_of(self))
        return {
            "made_as": dict(self.made_as),
            "in_order": self.in_order,
            "frozen": [k for k, layer in layers if not layer.trainable],
            "name": self.name,
        }


def made(history: History, in_order: bool) -> list[tuple[int, keras.layers.Layer]]:
    """The layers with their places in the model, in the order they are made in."""
    layers = []
    for k in (0, 1, 2) if in_order else (2, 1, 0):
        name = f"layer_{'abc'[k]}" if history.names == "by hand" else None
        policy = history.policy if k == 1 else "float32"
        layers.append((k, keras.layers.Dense(WIDTH, name=name, dtype=policy)))
    return layers


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    if isinstance(model, Chain):
        return [model.alpha, model.beta, model.gamma]
    return [each for each in model.layers if isinstance(each, keras.layers.Dense)]


def new_model(history: History, seed: int, in_order: bool = True) -> keras.Model:
    keras.utils.set_random_seed(seed)
    if history.kind == "subclass":
        model: keras.Model = Chain(vars(history), in_order)
        model.build((None, WIDTH))
        return model
    layers = [layer for _, layer in sorted(made(history, in_order))]
    if history.kind == "sequential":
        return keras.Sequential([keras.Input((WIDTH,)), *layers])
    x = inputs = keras.Input((WIDTH,))
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def new_optimizer(history: History, model: keras.Model) -> Any:
    options = OPTIONS[history.options]
    optimizer = OPTIMIZERS[history.optimizer](**options, **multipliers(history, model))
    if history.excluded is not None:
        kernel = layers_of(model)[history.excluded].kernel
        optimizer.exclude_from_weight_decay(var_list=[kernel])
    return optimizer


def multipliers(history: History, model: keras.Model) -> dict[str, Any]:
    """Patterns that are found in any model with these layers, or in this one alone."""
    place = history.multiplied
    if place is None:
        return {}
    if place == history.frozen and history.event != "at once":
        place = (place + 1) % 3
    layer = layers_of(model)[place].kernel.path.removesuffix("kernel")
    return {"learning_rate_multipliers": {f"^{layer}": 0.25, "kernel$": 2}}


def compiled(model: keras.Model, optimizer: Any) -> keras.Model:
    model.compile(optimizer, keras.losses.MeanSquaredError(), run_eagerly=True)
    return model


def data(seed: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 3 * steps, WIDTH)).astype("float32")
    return x, y


def fit(model: keras.Model, seed: int, steps: int = 3) -> None:
    x, y = data(seed, steps)
    model.fit(x, y, batch_size=3, shuffle=False, verbose=0)


def set_frozen(model: keras.Model, place: int, frozen: bool) -> None:
    layers_of(model)[place].trainable = not frozen


def lived(history: History) -> keras.Model:
    """A model that has been trained, had its event, and been trained again."""
    model = new_model(history, seed=1)
    compiled(model, new_optimizer(history, model))
    starts_frozen = history.event.startswith(("unfrozen", "refrozen"))
    set_frozen(model, history.frozen, starts_frozen)
    fit(model, 10)
    if history.event == "at once":
        return model
    optimizer = model.optimizer
    set_frozen(model, history.frozen, history.event.startswith("frozen"))
    if history.event == "unfrozen, appended":
        new = layers_of(model)[history.frozen].trainable_variables
        optimizer.add_variables(new)
    elif history.event != "frozen":
        optimizer.add_variables(model.trainable_variables)
    compiled(model, optimizer)
    fit(model, 11)
    if history.event == "refrozen":
        set_frozen(model, history.frozen, True)
        optimizer.add_variables(model.trainable_variables)
        compiled(model, optimizer)
        fit(model, 12)
    return model


def receiver(history: History, build: bool) -> keras.Model:
    """A model of the same structure that has other weights, and was not trained."""
    model = new_model(history, 2, history.made_in_order)
    ends_frozen = history.event.startswith(("frozen", "refrozen"))
    set_frozen(model, history.frozen, ends_frozen)
    compiled(model, new_optimizer(history, model))
    if build:
        model.optimizer.build(model.trainable_variables)
    return model


# Routes: each takes the model and returns another one that is to go on as it would.


def by_keras_file(model: keras.Model, history: History, folder: Path) -> keras.Model:
    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")
    loaded.run_eagerly = True
    return loaded


def by_legacy_file(model: keras.Model, history: History, folder: Path) -> keras.Model:
    model.save(folder / "model.h5")
    loaded = keras.saving.load_model(folder / "model.h5")
    loaded.run_eagerly = True
    return loaded


def by_weights(model: keras.Model, history: History, folder: Path) -> keras.Model:
    model.save_weights(folder / "of.weights.h5")
    other = receiver(history, build=True)
    other.load_weights(folder / "of.weights.h5")
    return other


def by_weights_unbuilt(
    model: keras.Model, history: History, folder: Path
) -> keras.Model:
    model.save_weights(folder / "of.weights.h5")
    other = receiver(history, build=False)
    other.load_weights(folder / "of.weights.h5")
    return other


def by_pickle(model: keras.Model, history: History, folder: Path) -> keras.Model:
    return with_optimizer(model, history, pickle.loads(pickle.dumps(model.optimizer)))


def by_deepcopy(model: keras.Model, history: History, folder: Path) -> keras.Model:
    return with_optimizer(model, history, copy.deepcopy(model.optimizer))


def by_legacy_file_of_a_copy(
    model: keras.Model, history: History, folder: Path
) -> keras.Model:
    """The copy waits for its variables when it is saved."""
    return by_legacy_file(by_deepcopy(model, history, folder), history, folder)


def with_optimizer(model: keras.Model, history: History, copied: Any) -> keras.Model:
    other = receiver(history, build=False)
    for layer, original in zip(layers_of(other), layers_of(model), strict=True):
        layer.set_weights(original.get_weights())
    return compiled(other, copied)


def by_checkpoint(model: keras.Model, history: History, folder: Path) -> keras.Model:
    import tensorflow as tf

    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    path = checkpoint.write(str(folder / "checkpoint"))
    other = receiver(history, build=True)
    checkpoint = tf.train.Checkpoint(model=other, optimizer=other.optimizer)
    checkpoint.read(path).expect_partial()
    return other


ROUTES: dict[str, Callable[[keras.Model, History, Path], keras.Model]] = {
    ".keras": by_keras_file,
    ".h5": by_legacy_file,
    ".weights.h5, built": by_weights,
    ".weights.h5, not built": by_weights_unbuilt,
    "pickle": by_pickle,
    "deepcopy": by_deepcopy,
    "deepcopy, .h5": by_legacy_file_of_a_copy,
}
if keras.backend.backend() == "tensorflow":
    ROUTES["tf.train.Checkpoint"] = by_checkpoint


def can_take(history: History, route: str) -> bool:
    """Whether Keras can send a model on this route at all, and the state is known.

    What is by position alone needs `add_variables` after a layer was frozen.
    """
    in_a_legacy_file = route in (".h5", "deepcopy, .h5")
    by_position = in_a_legacy_file or route == "tf.train.Checkpoint"
    if by_position and history.event == "frozen":
        return False
    if in_a_legacy_file and (
        history.kind == "subclass" or history.policy == "bfloat16"
    ):
        return False
    if keras.backend.backend() == "jax" and history.event == "frozen":
        return False  # Keras pairs by position: `add_variables` is needed
    if keras.backend.backend() == "jax" and "appended" in history.event:
        return history.frozen == 2
    return True


def assert_goes_on(model: keras.Model, other: keras.Model) -> None:
    """`other` has the state of the variables whose weights it got, and steps like them.

    Who got whose weights is read off the weights, which no two variables share.
    """
    other.optimizer.build(other.trainable_variables)
    pairs = paired(model, other)
    assert_same_state(model.optimizer, other.optimizer, pairs)
    fit(model, 20, 5)
    fit(other, 20, 5)
    for original, variable in pairs:
        np.testing.assert_array_equal(value(variable), value(original))
    assert_same_state(model.optimizer, other.optimizer, pairs)


def paired(model: keras.Model, other: keras.Model) -> list[tuple[Any, Any]]:
    pairs = []
    for variable in other.weights:
        same = [v for v in model.weights if np.array_equal(value(v), value(variable))]
        assert len(same) == 1, variable.path
        pairs.append((same[0], variable))
    return pairs


def value(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable)).astype("float32")


def assert_same_state(first: Any, second: Any, pairs: list[tuple[Any, Any]]) -> None:
    for original, variable in pairs:
        if variable.trainable:
            given = state_beside(second, variable)
            expected = state_beside(first, original)
            assert given.keys() == expected.keys()
            for name, array in expected.items():
                np.testing.assert_array_equal(given[name], array, err_msg=name)


def state_beside(optimizer: Any, variable: Any) -> dict[str, np.ndarray]:
    assert optimizer.variables  # who looks at the state settles whose it is
    beside = optimizer._state.of(optimizer._var_key(variable))
    of_variable = {
        "decays": np.asarray(bool(optimizer._use_weight_decay(variable))),
        "factor": np.asarray(beside.factor),
    }
    return {name: value(v) for name, v in beside.kept().items()} | of_variable
