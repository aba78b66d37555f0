"""All settings at once, on variables of all dtypes, against float64.

So every backend is compared with every other.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given

from keras_textbook_opt import SGD, Adam, Momentum
from tests.backends import BACKEND, HAS, MODES_IN_TIME, Sparse, in_modes, numbers
from tests.recipes import FEW_EXACT, FEW_LAZY, Recipe
from tests.trainer import NARROW, assert_steps_follow, runs, trainer

SPECS = (
    ((), "float32"),
    ((101, 99), "float32"),
    ((7, 3), "float64" if "float64" in HAS else "float32"),
    ((1,), "float16"),
    ((61, 5), "bfloat16"),
    ((5, 2), "float16"),
)
TABLES = (2, 4, 5)
EXCLUDED = (1, 5)
FACTORS = (2.0, 1.0, 0.3, 0.0, 0.3, 0.0)
FEATURES = {
    "gradient_accumulation_steps": 2,
    "use_ema": True,
    "ema_momentum": 0.75,
    "ema_overwrite_frequency": 3,
    "weight_decay": 0.125,
    "loss_scale_factor": 4.0,
}
EQUATIONS: list[tuple[type, dict]] = [
    (SGD, {"clipnorm": 0.5}),
    (Momentum, {"nesterov": True, "global_clipnorm": 0.5}),
    (Adam, {"amsgrad": True, "clipvalue": 0.25}),
    (Adam, {"clipnorm": 0.5}),
]
CASES = [Recipe(optimizer, FEATURES | own) for optimizer, own in EQUATIONS]
QUICK = slice(2, 3) if BACKEND == "jax" else slice(1, None, 3)
if "rows" in HAS:
    CASES += [recipe.with_arguments(**FEATURES) for recipe in FEW_LAZY]


@pytest.mark.parametrize("factors", [(), FACTORS], ids=["", "multiplied"])
@pytest.mark.parametrize(("recipe", "mode"), in_modes(CASES, QUICK, MODES_IN_TIME))
@given(run=runs(SPECS, TABLES, counts=(9,), most=9))
def test_variables_and_averages_are_those_of_float64(recipe, mode, factors, run):
    """To a few roundings a step: of float32 for 16 bits too, with their carries."""
    assert_steps_follow(recipe, mode, run, SPECS, TABLES, EXCLUDED, factors)


EMPTY = [(shape, recipe) for shape in [(0,), (2, 0)] for recipe in CASES[1:3]]
EMPTY += [((0, 3), recipe) for recipe in FEW_EXACT[1:]]
LAZY = pytest.param("lazy", marks=pytest.mark.needs("rows"))


@pytest.mark.parametrize("sparse_update", ["exact", LAZY])
@pytest.mark.parametrize("dtype", ["float32", *NARROW])
@pytest.mark.parametrize(("shape", "recipe"), EMPTY, ids=str)
def test_a_variable_without_elements_takes_steps(shape, recipe, dtype, sparse_update):
    """By itself: a backend may step it together with others."""
    rows = [1, 0, 1] if shape[0] else []
    recipe = recipe.with_arguments(sparse_update=sparse_update)
    subject = trainer(recipe, "eager", ((shape, dtype),))
    nothing = np.zeros(shape, NARROW.get(dtype, dtype))
    sparse = Sparse(np.array(rows, "int32"), nothing[:1].repeat(len(rows), 0))
    for g in (nothing, sparse):
        subject.run([nothing], [[g]] * 2)
        assert numbers(subject.variables[0]).shape == shape
        assert int(numbers(subject.optimizer.iterations)) > 0


@pytest.mark.needs("pairs")
@pytest.mark.parametrize("order", [(0, 0, 1), (1, 0, 0)])
@pytest.mark.parametrize("optimizer", [SGD, Momentum, Adam])
def test_a_variable_that_is_listed_twice_has_one_state(optimizer, order):
    """Its gradients are steps one after the other, as with tied weights."""

    def stepped(built_with):
        variables = [keras.Variable([1.0, 2.0], name=name) for name in "ab"]
        made = optimizer(0.1, use_ema=True, learning_rate_multipliers={"b": 0.5})
        made.build([variables[k] for k in built_with])
        for size in (1.0, 2.0):
            gradients = [np.array([size, k], "float32") for k in range(len(order))]
            made.apply(gradients, [variables[k] for k in order])
        made.finalize_variable_values(variables)
        state = [v for v in made.variables if v.shape]
        return [numbers(v).tolist() for v in (*variables, *state)]

    assert stepped(order) == stepped(sorted(set(order), key=order.index))
