"""Dense steps of every recipe on the Keras backend that the first argument names."""

import os
import sys
import warnings

os.environ["KERAS_BACKEND"] = sys.argv[1]

import keras
import numpy as np

from keras_textbook_opt import SGD, Adam, Momentum
from tests.oracle import Oracle
from tests.programs import clips, growth, scaled_losses, sixteen_bits, waiting_states
from tests.recipes import EXACT, Recipe

WITH_FEATURES = [
    Recipe(SGD, {"clipvalue": 0.25, "weight_decay": 0.1}),
    Recipe(Momentum, {"nesterov": True, "clipnorm": 0.5}),
    Recipe(Adam, {"amsgrad": True, "global_clipnorm": 0.75}),
]
SHAPES = [(), (3,), (0, 2), (4, 3)]
STEPS = 4


def drawn(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype("float32") for shape in SHAPES]


def averaged(pairs: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [np.mean(gradients, axis=0) for gradients in zip(*pairs, strict=True)]


GRADIENTS = [drawn(seed) for seed in range(STEPS)]


def expected(recipe: Recipe, gradients: list) -> list[list[np.ndarray]]:
    """The variables after each step."""
    oracle = Oracle(recipe, drawn(100))
    values = []
    for step in gradients:
        oracle.step(step)
        values.append([θ.copy() for θ in oracle.variables])
    return values


def taken(optimizer, gradients: list) -> list[keras.Variable]:
    variables = [keras.Variable(value) for value in drawn(100)]
    optimizer.build(variables)
    if keras.backend.backend() == "jax":
        take_compiled(optimizer, gradients, variables)
    else:
        for step in gradients:
            optimizer.apply(step, variables)
    return variables


def take_compiled(optimizer, gradients: list, variables: list) -> None:
    """The way of `model.fit` with JAX: a pure function from old to new values."""
    import jax

    step = jax.jit(optimizer.stateless_apply)
    θ = [v.value for v in variables]
    state = [v.value for v in optimizer.variables]
    for each in gradients:
        θ, state = step(state, each, θ)
    new = [*θ, *state]
    for variable, value in zip([*variables, *optimizer.variables], new, strict=True):
        variable.assign(value)


def assert_close(variables, values) -> None:
    # 4 steps of a few float32 roundings each, on values and steps of about 1.
    for variable, value in zip(variables, values, strict=True):
        given = keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(given, value, rtol=2e-5, atol=2e-6)


def check(recipe: Recipe) -> None:
    assert_close(taken(recipe.make(), GRADIENTS), expected(recipe, GRADIENTS)[-1])


def check_features_of_keras(recipe: Recipe) -> None:
    values = expected(recipe, GRADIENTS)
    scaled = [[4 * g for g in step] for step in GRADIENTS]
    assert_close(taken(recipe.make(loss_scale_factor=4.0), scaled), values[-1])

    averages = [averaged(GRADIENTS[k : k + 2]) for k in range(0, STEPS, 2)]
    accumulating = recipe.make(gradient_accumulation_steps=2)
    assert_close(taken(accumulating, GRADIENTS), expected(recipe, averages)[-1])

    averaging = recipe.make(use_ema=True, ema_momentum=0.75)
    variables = taken(averaging, GRADIENTS)
    assert_close(variables, values[-1])
    averaging.finalize_variable_values(variables)
    assert_close(variables, moving_average(values, 0.75))


def moving_average(values: list[list[np.ndarray]], β: float) -> list[np.ndarray]:
    average = values[0]
    for later in values[1:]:
        average = [β * a + (1 - β) * θ for a, θ in zip(average, later, strict=True)]
    return average


def check_that_lazy_says_that_it_is_exact() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Momentum(sparse_update="exact")
        assert not caught
        Momentum(sparse_update="lazy")
        Adam(sparse_update="lazy")
    assert ["is the same as 'exact'" in str(each.message) for each in caught] == [1, 1]


if __name__ == "__main__":
    assert keras.backend.backend() == sys.argv[1]
    for recipe in EXACT:
        check(recipe)
    for recipe in WITH_FEATURES:
        check_features_of_keras(recipe)
    check_that_lazy_says_that_it_is_exact()
    clips.check()
    assert "tensorflow" not in sys.modules
    sixteen_bits.check()  # with `fit`, for which Keras imports TensorFlow
    if keras.backend.backend() != "numpy":
        growth.check()
        scaled_losses.check()
        waiting_states.check()
