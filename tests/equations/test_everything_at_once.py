"""All settings at once, on variables of all dtypes, against float64.

So every backend is compared with every other.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import SGD, Adam, Momentum
from tests.backends import BACKEND, COMPILED, HAS, few, numbers
from tests.equations.test_sixteen_bits import NARROW, held
from tests.oracle import Oracle
from tests.recipes import Recipe
from tests.trainer import kept, trainer, whole

SPECS = (
    ((), "float32"),
    ((101, 99), "float32"),
    ((7, 3), "float64" if "float64" in HAS else "float32"),
    ((1,), "float16"),
    ((61, 5), "bfloat16"),
    ((5, 2), "float16"),
)
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
QUICK = slice(2, 3) if BACKEND == "jax" else slice(1, 3)


@st.composite
def runs(draw):
    """Values, and the gradients of some steps, times the scale of the loss."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def drawn(scale: float) -> list[np.ndarray]:
        return [_held(scale * rng.normal(size=shape), dtype) for shape, dtype in SPECS]

    scales = st.sampled_from([0.0, 1e-3, 1.0, 1e3])
    return drawn(1.0), [drawn(4 * s) for s in draw(st.lists(scales, max_size=9))]


def _held(x: np.ndarray, dtype: str) -> np.ndarray:
    return held(x, dtype) if dtype in NARROW else np.asarray(x, dtype)


def label(recipe: Recipe) -> str:
    own = recipe.arguments.keys() - FEATURES.keys()
    return "-".join([recipe.optimizer.__name__, *sorted(own)])


@pytest.mark.parametrize("factors", [(), FACTORS], ids=["", "multiplied"])
@pytest.mark.parametrize("recipe", few(CASES, QUICK), ids=label)
@given(run=runs())
def test_variables_and_averages_are_those_of_float64(recipe, factors, run):
    """To a few roundings a step: of float32 for 16 bits too, with their carries."""
    values, gradients = run
    oracle = Oracle(recipe, values, EXCLUDED, factors)
    subject = trainer(recipe, COMPILED[0], SPECS, (), EXCLUDED, factors)
    for step in gradients:
        oracle.apply(step)
    subject.run(values, gradients)
    for k, (variable, (_, dtype)) in enumerate(zip(subject.variables, SPECS)):
        is_of_64 = dtype == "float64" and "global_clipnorm" not in recipe.arguments
        unit = 100 * np.finfo("float64" if is_of_64 else "float32").eps
        near = {"rtol": unit, "atol": unit * oracle.reach[k]}
        both = whole(subject.optimizer, variable)
        np.testing.assert_allclose(both, oracle.variables[k], **near)
        np.testing.assert_array_equal(numbers(variable), _held(both, dtype))
        if oracle.t:
            average = numbers(kept(subject.optimizer, variable)["average"])
            np.testing.assert_allclose(average, oracle.averages[k], **near)


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
@pytest.mark.parametrize("dtype", ["float32", *NARROW])
@pytest.mark.parametrize("recipe", CASES[1:3], ids=label)
def test_a_variable_without_elements_takes_steps(recipe, dtype, shape):
    """By itself: a backend may step it together with others."""
    subject = trainer(recipe, "eager", ((shape, dtype),))
    nothing = np.zeros(shape, NARROW.get(dtype, dtype))
    subject.run([nothing], [[nothing]] * 4)
    assert numbers(subject.variables[0]).shape == shape
    assert int(numbers(subject.optimizer.iterations)) == 2


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
