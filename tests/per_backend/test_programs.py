"""A large variable of 16 bits has a program of XLA in a graph, for the same step."""

from __future__ import annotations

import functools
from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given

from keras_textbook_opt import Adam, Momentum, TextbookOptimizer
from keras_textbook_opt.backends import tensorflow_programs as programs
from tests.backends import few, numbers
from tests.equations.test_sixteen_bits import (
    SPECS,
    TABLES,
    assert_follows,
    runs,
    train,
    whole,
)
from tests.recipes import EXACT, LAZY, Recipe
from tests.trainer import Trainer, trainer

pytestmark = pytest.mark.needs("tensorflow")

SHAPE = (3, 2)
MORE = [
    Recipe(Adam, {"use_ema": True, "ema_overwrite_frequency": 2}),
    Recipe(Adam, {"gradient_accumulation_steps": 2, "global_clipnorm": 0.75}),
    Recipe(Momentum, {"loss_scale_factor": 8.0, "compensate": False}),
]


@pytest.fixture
def small_ones_too():
    with mock.patch.object(programs, "LARGE", 0):
        yield


@functools.cache
def in_a_program(recipe: Recipe) -> Trainer:
    with mock.patch.object(programs, "LARGE", 0):
        return Trainer(recipe, "graph", SPECS, TABLES)


@pytest.mark.parametrize("recipe", few(EXACT + LAZY, slice(2, None, 5)), ids=str)
@given(run=runs())
def test_a_step_in_a_program_follows_float32(recipe, run):
    subject = in_a_program(recipe)
    assert count_of_programs(subject._step.graph) == 1
    assert_follows(subject, train(recipe, subject, run))


@pytest.mark.parametrize("recipe", MORE, ids=str)
@given(run=runs())
def test_a_program_and_the_graph_take_the_same_step(recipe, run):
    subject = in_a_program(recipe)
    plain = trainer(recipe, "graph", SPECS, TABLES)
    assert count_of_programs(plain._step.graph) == 0
    for each in (subject, plain):
        each.run(*run)
    for θ, x in zip(subject.variables, plain.variables):
        expected = whole(plain.optimizer, x)
        atol = 1e-5 * (1 + np.abs(expected).max())
        np.testing.assert_allclose(whole(subject.optimizer, θ), expected, 0, atol)


def count_of_programs(graph: Any) -> int:
    """How many calls of a graph, and of the graphs within it, XLA compiles."""
    definition = graph.as_graph_def()
    nodes = [*definition.node]
    for function in definition.library.function:
        nodes += function.node_def
    return sum(node.attr["_XlaMustCompile"].b for node in nodes)


class Signs(TextbookOptimizer):
    """Python decides what its step is, which XLA cannot compile."""

    def apply_dense(self, g, θ, η):
        return θ - η * tf.numpy_function(np.sign, [g], g.dtype, stateful=False)


class Halved(Adam):  # type: ignore[misc]
    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate / 2)


def graph_of(optimizer, dtype="bfloat16", jit_compile=False, rows=False) -> Any:
    θ = keras.Variable(np.ones(SHAPE), dtype=dtype)
    optimizer.build([θ])
    g = tf.ones(SHAPE, dtype)

    @tf.function(jit_compile=jit_compile)
    def step(g):
        optimizer.apply([tf.IndexedSlices(g, [0, 1, 0]) if rows else g], [θ])

    step(g)
    return step.get_concrete_function(g).graph


@pytest.mark.parametrize(
    ("count", "make", "arguments"),
    [
        (1, Adam, {}),
        (1, Adam, {"dtype": "float16"}),
        (0, Adam, {"dtype": "float32"}),
        (0, Adam, {"dtype": "float64"}),
        (0, Adam, {"rows": True}),
        (0, Adam, {"jit_compile": True}),
        (0, Signs, {}),
        (0, Halved, {}),
    ],
)
def test_what_is_a_program(small_ones_too, count, make, arguments):
    assert count_of_programs(graph_of(make(0.1), **arguments)) == count


def test_a_small_variable_is_none():
    assert count_of_programs(graph_of(Adam(0.1))) == 0


def test_where_xla_is_not_there_is_none(small_ones_too):
    with mock.patch.object(programs, "xla_is_here", lambda: False):
        assert count_of_programs(graph_of(Adam(0.1))) == 0


@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_fit_trains_in_programs(steps_per_execution):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 3)), rng.normal(size=(24, 1))
    states = []
    for large in (0, 2**60):
        keras.utils.set_random_seed(0)
        layers = [keras.Input((3,)), keras.layers.Dense(1, dtype="bfloat16")]
        model = keras.Sequential(layers)
        model.compile(
            Adam(0.01, gradient_accumulation_steps=2),
            "mse",
            steps_per_execution=steps_per_execution,
            jit_compile=False,
        )
        with mock.patch.object(programs, "LARGE", large):
            model.fit(x, y, batch_size=4, epochs=2, verbose=0)
        states.append(
            [numbers(v) for v in [*model.weights, *model.optimizer.variables]]
        )
    for a, b in zip(*states, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
