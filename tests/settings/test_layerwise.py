"""`layerwise_decay`: the rate of a layer falls with its depth, in every model."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from keras_textbook_opt import SGD, layerwise_decay
from tests.backends import numbers

DECAY = 0.5


def dense(name: str) -> keras.layers.Layer:
    return layers.Dense(2, name=name)


class Chain(keras.Model):
    def __init__(self) -> None:
        super().__init__(name="chain")
        self.scale = self.add_weight(shape=(), name="scale")
        self.first, self.blocks = dense("d2"), [dense("d1"), Block("d0")]

    def call(self, x):
        for layer in (self.first, *self.blocks):
            x = layer(x)
        return x * self.scale


class Block(keras.layers.Layer):
    """As in a transformer: a layer of layers, which is one level."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.parts = [dense("one"), dense("two")]

    def call(self, x):
        return x + self.parts[1](self.parts[0](x))


def with_input() -> keras.Model:
    inner = keras.Sequential([keras.Input((2,)), dense("d2"), dense("d1")])
    return keras.Sequential([keras.Input((2,)), dense("d3"), inner, dense("a-d0")])


def backbone() -> keras.Model:
    """A functional model of blocks, in another one, as KerasHub makes them."""
    ids = keras.Input((3,), dtype="int32")
    x = layers.Embedding(5, 2, name="d3")(ids)
    x = layers.Dropout(0.1)(layers.LayerNormalization(name="d2")(x))
    inner = keras.Model(ids, Block("d1")(x), name="inner")
    tokens = keras.Input((3,), dtype="int32")
    return keras.Model(tokens, dense("d0")(inner(tokens)))


def shared() -> keras.Model:
    """A layer that is used twice is one level."""
    x = inputs = keras.Input((2,))
    tied = dense("d2")
    return keras.Model(inputs, tied(dense("d0")(dense("d1")(tied(x)))))


def subclassed() -> keras.Model:
    model = Chain()
    model(np.zeros((1, 2)))
    return model


def half_frozen() -> keras.Model:
    model = with_input()
    model.get_layer("d3").trainable = False
    model.layers[1].get_layer("d1").trainable = False
    return model


MODELS = [backbone, shared, subclassed, half_frozen]


def functional_of(parts: list) -> keras.Model:
    x = parts[0]
    for part in parts[1:]:
        x = part(x)
    return keras.Model(parts[0], x)


def nested(nest: Any, tree: list | None, count: Iterator[int]) -> Any:
    """A layer, or a model of such parts; the layers are numbered from the input on."""
    if tree is None:
        return dense(f"layer{next(count)}")
    parts = [nested(nest, part, count) for part in tree]
    return nest([keras.Input((2,)), *parts])


def depth_in_name(path: str) -> int:
    found = re.search(r"d(\d)", path)
    return 3 if found is None else int(found[1])  # `scale`: before the first layer


def factors_in(model: keras.Model, decay: float = DECAY) -> dict[str, float]:
    """How far each variable moves in a step of rate 1 on gradients of 1, by path."""
    optimizer = SGD(1.0, learning_rate_multipliers=layerwise_decay(model, decay))
    θ = model.trainable_variables
    for variable in θ:
        variable.assign(keras.ops.zeros(variable.shape))
    optimizer.apply([keras.ops.ones(v.shape) for v in θ], θ)
    return {v.path: -float(numbers(v).max()) for v in θ}


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_the_factor_is_the_decay_to_the_power_of_the_depth(make):
    model = make()
    factors = list(layerwise_decay(model, DECAY).values())
    assert factors == sorted(factors, reverse=True)
    found = factors_in(model)
    assert found == {path: DECAY ** depth_in_name(path) for path in found}
    assert set(layerwise_decay(model, 1).values()) == {1.0}


NESTED = st.recursive(st.none(), lambda part: st.lists(part, min_size=1, max_size=4))


@pytest.mark.parametrize("nest", [keras.Sequential, functional_of])
@given(tree=NESTED.filter(lambda tree: tree is not None))
def test_a_chain_is_as_deep_however_it_is_nested(nest, tree):
    count = itertools.count()
    model = nested(nest, tree, count)
    last = next(count) - 1
    for path, factor in factors_in(model).items():
        place = int(path.split("/")[-2].removeprefix("layer"))
        assert factor == DECAY ** (last - place)


def test_other_arguments_are_refused():
    unbuilt = keras.Sequential([layers.Dense(2)])
    bad: list[tuple[Any, Any]] = [(layers.Dense(2), 0.5), (unbuilt, 0.5)]
    bad += [(with_input(), decay) for decay in (None, 0.0, 1.5, float("nan"))]
    for model, decay in bad:
        with pytest.raises(ValueError, match=r"must be .*Received: (model|decay)="):
            layerwise_decay(model, decay)


def test_layers_of_one_path_at_two_depths_are_refused():
    def part(name: str) -> keras.Model:
        x = keras.Input((2,))
        return keras.Model(x, dense("same")(x), name=name)

    model = keras.Sequential([keras.Input((2,)), part("a"), part("b")])
    with pytest.raises(ValueError, match="same/kernel"):
        layerwise_decay(model, DECAY)
