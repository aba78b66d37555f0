"""Keras's features mean what they mean to the built-ins, on sparse gradients too.

Two oracles: the built-in of the same arguments, which gets each gradient in its dense
form; and `Oracle`, for lazy updates.
"""

import keras
import numpy as np
import pytest

from keras_textbook_opt import SGD
from tests import reference
from tests.backends import (
    MODES,
    Sparse,
    few_on_jax,
    gradient,
    in_modes,
    numbers,
    step_in,
)
from tests.oracle import Oracle
from tests.recipes import FEW_EXACT as EXACT
from tests.recipes import FEW_LAZY

LAZY = [pytest.param(recipe, marks=pytest.mark.needs("rows")) for recipe in FEW_LAZY]
EVERY = [*few_on_jax(EXACT, slice(2, None)), *LAZY]
of_exact_recipes = pytest.mark.parametrize(
    "recipe", few_on_jax(EXACT, slice(2, None)), ids=str
)
# Eagerly, only the last recipe is quick.
of_every_recipe_in_both_modes = pytest.mark.parametrize(
    ("recipe", "mode"),
    [
        *in_modes(EVERY, slice(None), MODES[1:2]),
        *in_modes(EVERY, slice(-1, None), MODES[:1]),
    ],
)

TABLE, VECTOR = (6, 2), (3,)
# Repeats, other rows in each step, and a row (5) that none of them touches.
ROWS = [[2, 2, 0], [1, 4, 2], [4, 4, 4], [3, 0, 3]]


def values() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=s).astype("float32") for s in (TABLE, VECTOR)]


def gradients(steps: int = 4, scale: float = 1.0) -> list[list]:
    """For each step a sparse gradient of the table and a dense one of the vector."""
    rng = np.random.default_rng(1)

    def drawn(*shape):
        return (scale * rng.normal(size=shape)).astype("float32")

    indices = [np.array(ROWS[k % len(ROWS)], "int32") for k in range(steps)]
    return [[Sparse(i, drawn(len(i), 2)), drawn(3)] for i in indices]


def dense(step: list) -> list:
    arrays = [
        reference.densify(*g, TABLE) if isinstance(g, Sparse) else g for g in step
    ]
    return [keras.ops.convert_to_tensor(g, "float32") for g in arrays]


def tensors(step: list) -> list:
    return [
        gradient(g, s, "float32") for g, s in zip(step, (TABLE, VECTOR), strict=True)
    ]


class Trained:
    """Variables, and an optimizer that steps on them in some mode."""

    def __init__(self, optimizer, mode: str = "eager"):
        table, vector = values()
        self.variables = [
            keras.Variable(table, name="table"),
            keras.Variable(vector, name="vector"),
        ]
        self.optimizer = optimizer
        self.step = step_in(mode, optimizer, self.variables)


def assert_close(given, expected) -> None:
    # A few float32 roundings a step, on values and steps of about 1. The built-in Adam
    # has 1 − β₂ᵗ from float32 powers, which are up to 3e-5 off.
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_allclose(numbers(one), numbers(other), rtol=5e-5, atol=1e-5)


FEATURES = [
    {},
    {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
    {"use_ema": True, "ema_momentum": 0.0},
    {"use_ema": True, "ema_momentum": 1.0},
    {"gradient_accumulation_steps": 3, "weight_decay": 0.5},
    {"loss_scale_factor": 8.0, "weight_decay": 0.5},
]


@pytest.mark.parametrize("feature", FEATURES, ids=str)
@of_exact_recipes
def test_a_feature_equals_the_built_ins_on_the_dense_gradient(recipe, feature):
    recipe = recipe.with_arguments(**feature)
    ours, theirs = Trained(recipe.make(), MODES[-1]), Trained(recipe.make_keras())
    for step in gradients(6, scale=feature.get("loss_scale_factor", 1.0)):
        ours.step(tensors(step))
        theirs.step(dense(step))
        assert_close(ours.variables, theirs.variables)
        assert int(ours.optimizer.iterations) == int(theirs.optimizer.iterations)
    for each in (ours, theirs):
        each.optimizer.finalize_variable_values(each.variables)
    assert_close(ours.variables, theirs.variables)


@of_every_recipe_in_both_modes
def test_a_constraint_holds_after_every_step(recipe, mode):
    ours, oracle = Trained(recipe.make(), mode), Oracle(recipe, values())
    ours.variables[0].constraint = keras.constraints.NonNeg()
    for step in gradients():
        ours.step(tensors(step))
        oracle.step(step)
        oracle.variables[0] = np.maximum(oracle.variables[0], 0.0)
        assert_close(ours.variables, oracle.variables)


@of_every_recipe_in_both_modes
def test_a_variable_that_is_overwritten_with_its_gradient_takes_no_step(recipe, mode):
    """Keras trains scales of float8 like this; `global_clipnorm` leaves them out."""
    recipe = recipe.with_arguments(weight_decay=0.5)
    ours, oracle = Trained(recipe.make()), Oracle(recipe, values())
    scale = keras.Variable(1.0, name="scale")
    scale.overwrite_with_gradient = True
    optimizer = recipe.make()
    optimizer.build([scale, *ours.variables])
    step_on = step_in(mode, optimizer, [scale, *ours.variables])
    for k, step in enumerate(gradients()):
        step_on([np.float32(k), *tensors(step)])
        oracle.step(step)
        assert numbers(scale) == k
    assert_close(ours.variables, oracle.variables)
    assert not any("scale" in v.path for v in optimizer.variables)


@pytest.mark.parametrize("mode", MODES)
def test_with_accumulation_it_becomes_the_largest_of_its_gradients(mode):
    scale, θ = keras.Variable(0.5), keras.Variable([1.0])
    scale.overwrite_with_gradient = True
    optimizer = SGD(0.1, gradient_accumulation_steps=2)
    optimizer.build([scale, θ])
    step_on = step_in(mode, optimizer, [scale, θ])
    for g, expected in [(1, 0.5), (3, 3), (2, 3), (1, 2)]:
        step_on([np.float32(g), np.ones(1, "float32")])
        assert numbers(scale) == expected
    np.testing.assert_allclose(numbers(θ), [0.8], rtol=1e-6)


@pytest.mark.parametrize("missing", [0, 1])
@of_every_recipe_in_both_modes
def test_a_missing_gradient_leaves_its_variable_and_slots(recipe, mode, missing):
    recipe = recipe.with_arguments(weight_decay=0.5)
    ours, oracle = Trained(recipe.make(), mode), Oracle(recipe, values())
    first, second, *_ = gradients()
    ours.step(tensors(first))
    oracle.step(first)
    given = [None if k == missing else g for k, g in enumerate(tensors(second))]
    with pytest.warns(UserWarning, match=r"Gradients do not exist for variables"):
        ours.step(given)
    second[missing] = None
    oracle.step(second)
    assert_close(ours.variables, oracle.variables)
    for name, slot in oracle.slots[missing].items():
        given = ours.optimizer.get_slot(ours.variables[missing], name)
        assert_close([given], [slot])


def test_a_step_on_some_of_the_variables_leaves_the_others():
    for recipe in EXACT:
        ours = Trained(recipe.make())
        ours.step(tensors(gradients()[0]))
        before = numbers(ours.variables[0]).tobytes()
        ours.optimizer.apply([gradients()[1][1]], ours.variables[1:])
        assert numbers(ours.variables[0]).tobytes() == before


# Averages.


@pytest.mark.needs("dense")  # Keras refuses it on TensorFlow
@of_exact_recipes
def test_stateless_apply_changes_no_variable(recipe):
    start = [keras.Variable(value) for value in values()]
    optimizer = recipe.make(use_ema=True, gradient_accumulation_steps=2)
    optimizer.build(start)
    places = [*start, *optimizer.variables]
    before = [numbers(place) for place in places]
    state = [place.value for place in optimizer.variables]
    for step in gradients(2):
        given = tensors(dense(step))
        moved, state = optimizer.stateless_apply(state, given, [θ.value for θ in start])
    assert any(np.any(numbers(m) != b) for m, b in zip(moved, before))
    for place, old in zip(places, before):
        np.testing.assert_array_equal(numbers(place), old)


def averaged(*steps: float, begun: int = 0) -> tuple:
    """An optimizer with averages whose count of steps is `begun`; its variable."""
    θ, optimizer = keras.Variable([1.0, 2.0]), SGD(0.1, use_ema=True, ema_momentum=0.5)
    optimizer.build([θ])
    optimizer.iterations.assign(begun)
    for g in steps:
        optimizer.apply([np.array([g, g], "float32")], [θ])
    return optimizer, θ


@pytest.mark.parametrize("begun", [0, 5])
@pytest.mark.parametrize("steps", [0, 2])
def test_an_average_starts_at_its_variables_value(steps, begun):
    optimizer, θ = averaged(*[1.0] * steps, begun=begun)
    optimizer.finalize_variable_values([θ])
    moved = (0.125 if begun else 0.15) if steps else 0.0
    np.testing.assert_allclose(numbers(θ), [1.0 - moved, 2.0 - moved], rtol=1e-6)


def test_the_average_of_a_variable_that_came_later_starts_at_its_value():
    optimizer, θ = averaged(1.0, 1.0)
    late = keras.Variable([3.0])
    optimizer.set_variables([θ, late])
    optimizer.finalize_variable_values([late])
    assert numbers(late).tolist() == [3.0]
    for g in (1.0, 1.0):
        optimizer.apply([np.array([g, g], "float32"), [g]], [θ, late])
    optimizer.finalize_variable_values([late])
    assert 2.8 < numbers(late)[0] < 3.0
