"""Keras's features stay Keras's, on sparse gradients too.

Two oracles: the built-in optimizer of the same arguments, which gets each gradient in
its dense form; and, where an update is lazy, `reference.py` through `Oracle`.
"""

import keras
import numpy as np
import pytest

from keras_textbook_opt import SGD, Adam, Momentum
from tests import reference
from tests.backends import (
    BACKEND,
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
from tests.recipes import FEW_LAZY as LAZY
from tests.recipes import Recipe

FEW = few_on_jax(EXACT, slice(2, None))
LAZY_ROWS = [pytest.param(recipe, marks=pytest.mark.needs("rows")) for recipe in LAZY]
EVERY = [*FEW, *LAZY_ROWS]
of_every_recipe = pytest.mark.parametrize("recipe", EVERY, ids=str)
of_exact_recipes = pytest.mark.parametrize("recipe", FEW, ids=str)
of_lazy_recipes = pytest.mark.parametrize("recipe", LAZY_ROWS, ids=str)
of_both_modes = pytest.mark.parametrize("mode", MODES[:2])


def in_both_modes(recipes: list) -> pytest.MarkDecorator:
    """All recipes; in the mode that is not the usual one, the last alone."""
    cases = in_modes(recipes, slice(-1, None), MODES[:2])
    return pytest.mark.parametrize(("recipe", "mode"), cases)


of_every_recipe_in_both_modes = in_both_modes(EVERY)
of_exact_recipes_in_both_modes = in_both_modes(FEW)
of_lazy_recipes_in_both_modes = in_both_modes(LAZY_ROWS)

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

    def averages(self) -> list[np.ndarray]:
        return [numbers(v) for v in self.optimizer._model_variables_moving_average]


def assert_close(given, expected) -> None:
    # Some steps of a few float32 roundings each, on values and steps of about 1. The
    # built-in Adam has 1 − β₂ᵗ from float32 powers, which are up to 3e-5 off.
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_allclose(numbers(one), numbers(other), rtol=5e-5, atol=1e-5)


def assert_same_as_built_in(ours: Trained, theirs: Trained, steps: list[list]) -> None:
    """Step for step, with sparse gradients here and dense ones there."""
    for step in steps:
        ours.step(tensors(step))
        theirs.step(dense(step))
        assert_close(ours.variables, theirs.variables)
        assert int(ours.optimizer.iterations) == int(theirs.optimizer.iterations)


def with_arguments(recipe: Recipe, **more) -> Recipe:
    return Recipe(recipe.optimizer, {**recipe.arguments, **more})


FEATURES = [
    {"use_ema": True},
    {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
    {"use_ema": True, "ema_momentum": 0.0, "ema_overwrite_frequency": 1},
    {"use_ema": True, "ema_momentum": 1.0, "ema_overwrite_frequency": 3},
    {"gradient_accumulation_steps": 2},
    {"gradient_accumulation_steps": 3, "weight_decay": 0.5},
    {"gradient_accumulation_steps": 2, "use_ema": True, "ema_overwrite_frequency": 1},
    {"weight_decay": 0.5},
    {"loss_scale_factor": 8.0},
    {"loss_scale_factor": 8.0, "gradient_accumulation_steps": 2, "weight_decay": 0.5},
]


@pytest.mark.parametrize("feature", FEATURES, ids=str)
@of_exact_recipes_in_both_modes
def test_a_feature_does_to_sparse_gradients_what_it_does_to_dense_ones(
    recipe, mode, feature
):
    recipe = with_arguments(recipe, **feature)
    ours, theirs = Trained(recipe.make(), mode), Trained(recipe.make_keras())
    steps = gradients(6, scale=feature.get("loss_scale_factor", 1.0))
    assert_same_as_built_in(ours, theirs, steps)
    if "use_ema" in feature:
        assert_close(ours.averages(), theirs.averages())
    ours.optimizer.finalize_variable_values(ours.variables)
    theirs.optimizer.finalize_variable_values(theirs.variables)
    assert_close(ours.variables, theirs.variables)


@of_every_recipe_in_both_modes
def test_the_average_is_over_the_values_after_each_step(recipe, mode):
    ours = Trained(recipe.make(use_ema=True, ema_momentum=0.75), mode)
    oracle = Oracle(recipe, values())
    average = None
    for step in gradients():
        ours.step(tensors(step))
        oracle.step(step)
        last, average = average or oracle.variables, []
        for a, θ in zip(last, oracle.variables, strict=True):
            average.append(0.75 * a + 0.25 * θ)
    assert_close(ours.variables, oracle.variables)
    ours.optimizer.finalize_variable_values(ours.variables)
    assert_close(ours.variables, average)


def test_without_an_average_finalizing_changes_nothing():
    ours = Trained(Recipe(Adam).make())
    ours.step(tensors(gradients()[0]))
    before = [numbers(v).tobytes() for v in ours.variables]
    ours.optimizer.finalize_variable_values(ours.variables)
    assert [numbers(v).tobytes() for v in ours.variables] == before


def mean(steps: list[list]) -> list:
    """The mean of some steps' gradients; the table's stays sparse."""
    tables, vectors = zip(*steps, strict=True)
    indices = np.concatenate([g.indices for g in tables])
    rows = np.concatenate([g.values for g in tables]) / len(steps)
    return [Sparse(indices, rows), np.mean(vectors, axis=0)]


@pytest.mark.parametrize("count", [2, 4])
@of_every_recipe_in_both_modes
def test_accumulated_steps_are_one_step_with_the_mean(recipe, mode, count):
    ours = Trained(recipe.make(gradient_accumulation_steps=count), mode)
    oracle = Oracle(recipe, values())
    steps = gradients(8)
    for first in range(0, len(steps), count):
        accumulated = steps[first : first + count]
        for step in accumulated:
            assert_close(ours.variables, oracle.variables)
            ours.step(tensors(step))
        oracle.step(mean(accumulated))
        assert_close(ours.variables, oracle.variables)
    assert int(ours.optimizer.iterations) == len(steps) // count


@of_lazy_recipes_in_both_modes
def test_rows_that_no_accumulated_step_touches_stay(recipe, mode):
    ours = Trained(recipe.make(gradient_accumulation_steps=2, weight_decay=0.5), mode)
    (table, _), (before, _) = ours.variables, values()
    first, second, *_ = gradients()
    ours.step(tensors(first))
    ours.step(tensors(second))
    moved = (numbers(table) != before).any(axis=1)
    assert moved.tolist() == [True, True, True, False, True, False]
    slot = numbers(ours.optimizer.get_slot(table, "m"))
    assert (slot != 0).any(axis=1).tolist() == moved.tolist()


@of_lazy_recipes_in_both_modes
def test_a_row_whose_accumulated_gradient_is_zero_counts_as_not_touched(recipe, mode):
    ours = Trained(recipe.make(gradient_accumulation_steps=2, weight_decay=0.5), mode)
    (table, _), (before, _) = ours.variables, values()
    rows = Sparse(np.array([0, 5, 1], "int32"), np.ones((3, 2), "float32"))
    rows.values[1] = 0.0
    back = rows._replace(values=rows.values * np.array([[-1], [1], [1]], "float32"))
    for each in (rows, back):
        ours.step(tensors([each, np.ones(3, "float32")]))
    moved = (numbers(table) != before).any(axis=1)
    assert moved.tolist() == [False, True, False, False, False, False]


@of_every_recipe_in_both_modes
def test_weight_decay_is_apart_from_the_gradient(recipe, mode):
    recipe = with_arguments(recipe, weight_decay=0.5)
    ours, oracle = Trained(recipe.make(), mode), Oracle(recipe, values())
    for step in gradients():
        ours.step(tensors(step))
        oracle.step(step)
    assert_close(ours.variables, oracle.variables)


EXCLUSIONS = {
    "a variable": lambda table, vector: {"var_list": [vector]},
    "the table": lambda table, vector: {"var_list": [table]},
    "a name": lambda table, vector: {"var_names": ["vec"]},
    "a pattern": lambda table, vector: {"var_names": ["nothing", "^ta"]},
    "both": lambda table, vector: {"var_list": [vector], "var_names": ["table"]},
    "nothing": lambda table, vector: {},
}
if BACKEND == "torch":  # where Keras's own fails if nothing is left to decay
    del EXCLUSIONS["both"]


@pytest.mark.parametrize("exclusion", EXCLUSIONS)
@of_exact_recipes
def test_what_is_excluded_from_weight_decay_does_not_decay(recipe, exclusion):
    recipe = with_arguments(recipe, weight_decay=0.5)
    ours, theirs = Trained(recipe.make()), Trained(recipe.make_keras())
    for each in (ours, theirs):
        excluded = EXCLUSIONS[exclusion](*each.variables)
        each.optimizer.exclude_from_weight_decay(**excluded)
    rebuilt = Trained(recipe.optimizer.from_config(ours.optimizer.get_config()))
    assert_same_as_built_in(ours, theirs, gradients())
    for step in gradients():
        rebuilt.step(tensors(step))
    assert_close(rebuilt.variables, ours.variables)


def test_of_two_variables_of_one_name_the_excluded_one_alone_does_not_decay():
    kept, decayed = keras.Variable(1.0, name="θ"), keras.Variable(1.0, name="θ")
    optimizer = SGD(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[kept])
    optimizer.apply([0.0, 0.0], [kept, decayed])
    assert [*map(numbers, (kept, decayed))] == [1.0, 0.75]


def layers_of_a_model() -> keras.Model:
    layers = [
        keras.layers.Embedding(5, 2, name="embedding"),
        keras.layers.LayerNormalization(name="norm"),
        keras.layers.Dense(2, name="dense"),
    ]
    return keras.Sequential([keras.Input((3,), dtype="int32"), *layers])


DECAYING = {
    "nothing": ([], {"embeddings", "gamma", "beta", "kernel", "bias"}),
    "the usual": (["bias", "norm", "embedding"], {"kernel"}),
    "a layer": (["/norm/"], {"embeddings", "kernel", "bias"}),
    "a name": (["^bias$"], {"embeddings", "gamma", "beta", "kernel"}),
}


@pytest.mark.parametrize("patterns, decaying", DECAYING.values(), ids=DECAYING)
@pytest.mark.parametrize("route", ["given", "config", "config, built", "moved"])
def test_a_pattern_excludes_what_it_is_found_in_the_path_of(route, patterns, decaying):
    """On each way, and also where the paths are others."""
    model = layers_of_a_model()
    optimizer = SGD(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=patterns)
    if route == "config":
        optimizer = SGD.from_config(optimizer.get_config())
    optimizer.build(model.trainable_variables)
    optimizer.exclude_from_weight_decay(var_names=patterns)  # said again
    if route == "config, built":
        optimizer = SGD.from_config(optimizer.get_config())
        model = layers_of_a_model()
    if route == "moved":
        optimizer = optimizer.to_keras()
    θ = model.trainable_variables
    before = [numbers(v) + 1 for v in θ]
    for variable, value in zip(θ, before):
        variable.assign(value)
    optimizer.apply([keras.ops.zeros(v.shape) for v in θ], θ)
    for variable, value in zip(θ, before):
        expected = 0.75 * value if variable.name in decaying else value
        np.testing.assert_allclose(numbers(variable), expected, rtol=1e-6)


def test_a_pattern_of_keras_s_own_is_still_one_of_names():
    for is_built in (True, False):
        model = layers_of_a_model()
        built_in = keras.optimizers.SGD(0.5, weight_decay=0.5)
        built_in.exclude_from_weight_decay(var_names=["norm", "^b"])
        if is_built:
            built_in.build(model.trainable_variables)
        ours = SGD.from_keras(built_in)
        ours.build(model.trainable_variables)
        θ = model.trainable_variables
        for variable in θ:
            variable.assign(keras.ops.ones(variable.shape))
        ours.apply([keras.ops.zeros(v.shape) for v in θ], θ)
        decaying = {v.name for v in θ if numbers(v).max() < 1}
        assert decaying == {"embeddings", "gamma", "kernel"}


@pytest.mark.needs("tensorflow")
def test_tensorflow_s_own_variables_can_be_excluded_from_weight_decay():
    import tensorflow as tf

    kept, decayed = tf.Variable(1.0, name="kept"), tf.Variable(1.0, name="decayed")
    optimizer = SGD(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[kept])
    optimizer.apply([0.0, 0.0], [kept, decayed])
    assert [*map(numbers, (kept, decayed))] == [1.0, 0.75]


@of_lazy_recipes
def test_an_excluded_table_does_not_decay_where_it_is_touched(recipe):
    ours = Trained(recipe.make(weight_decay=0.5))
    ours.optimizer.exclude_from_weight_decay(var_names=["table", "vector"])
    oracle = Oracle(recipe, values())
    for step in gradients():
        ours.step(tensors(step))
        oracle.step(step)
    assert_close(ours.variables, oracle.variables)


@of_every_recipe_in_both_modes
def test_the_loss_scale_is_taken_out_of_the_gradients(recipe, mode):
    ours = Trained(recipe.make(loss_scale_factor=8.0), mode)
    oracle = Oracle(recipe, values())
    for scaled, step in zip(gradients(scale=8.0), gradients(), strict=True):
        ours.step(tensors(scaled))
        oracle.step(step)
    assert_close(ours.variables, oracle.variables)
    assert float(ours.optimizer.scale_loss(3.0)) == 24.0


schedules = keras.optimizers.schedules
SCHEDULES = {
    "piecewise": schedules.PiecewiseConstantDecay([1, 2], [0.2, 0.1, 0.0]),
    "cosine": schedules.CosineDecay(0.0, 4, warmup_target=0.2, warmup_steps=2),
    "exponential": schedules.ExponentialDecay(0.2, 2, 0.5),
}


@pytest.mark.parametrize("name", SCHEDULES)
@of_both_modes
def test_the_step_is_of_the_size_that_the_schedule_has_for_the_steps_taken(name, mode):
    schedule = SCHEDULES[name]
    ours = Trained(SGD(schedule), mode)
    for taken, (_, g) in enumerate(gradients()):
        before = numbers(ours.variables[1])
        ours.step([np.zeros(TABLE, "float32"), g])
        after = before - float(schedule(taken)) * g
        assert_close([ours.variables[1]], [after])


@pytest.mark.parametrize("name", few_on_jax([*SCHEDULES], slice(1)))
@pytest.mark.parametrize(
    "feature", [{}, {"gradient_accumulation_steps": 2}, {"weight_decay": 0.5}], ids=str
)
@of_exact_recipes
def test_a_schedule_means_what_it_means_to_the_built_in(recipe, feature, name):
    recipe = with_arguments(recipe, **feature)
    optimizer = recipe.optimizer(SCHEDULES[name], **recipe.arguments)
    built_in = recipe.make_keras()
    built_in.learning_rate = SCHEDULES[name]
    assert_same_as_built_in(Trained(optimizer), Trained(built_in), gradients(5))


@of_every_recipe_in_both_modes
def test_a_callable_is_asked_for_the_learning_rate_once_a_step(recipe, mode):
    η, asked = keras.Variable(0.1), []

    def learning_rate():
        asked.append(1)
        return η.value

    arguments = {**recipe.arguments, "weight_decay": 0.5}
    ours = Trained(recipe.optimizer(learning_rate, **arguments), mode)
    oracle = Oracle(with_arguments(recipe, weight_decay=0.5), values())
    step = gradients()[0]
    ours.step(tensors(step))
    oracle.step(step)
    assert_close(ours.variables, oracle.variables)
    assert len(asked) == 1
    η.assign(0.0)
    before = [numbers(v).tobytes() for v in ours.variables]
    if recipe.optimizer is not Momentum and mode != "jit":  # JAX asks while it compiles
        ours.step(tensors(step))
        assert [numbers(v).tobytes() for v in ours.variables] == before


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
    ours, oracle = (
        Trained(recipe.make(weight_decay=0.5), mode),
        Oracle(with_arguments(recipe, weight_decay=0.5), values()),
    )
    scale = keras.Variable(1.0, name="scale")
    scale.overwrite_with_gradient = True
    optimizer = recipe.make(weight_decay=0.5)
    optimizer.build([scale, *ours.variables])
    step_on = step_in(mode, optimizer, [scale, *ours.variables])
    for k, step in enumerate(gradients()):
        step_on([np.float32(k), *tensors(step)])
        oracle.step(step)
        assert numbers(scale) == k
    # `global_clipnorm` is over the other gradients alone.
    assert_close(ours.variables, oracle.variables)
    assert not any("scale" in v.path for v in optimizer.variables)


def without(g: list, missing: int) -> list:
    return [None if k == missing else each for k, each in enumerate(g)]


@pytest.mark.parametrize("missing", [0, 1])
@of_every_recipe_in_both_modes
def test_a_missing_gradient_leaves_its_variable_and_slots(recipe, mode, missing):
    ours, oracle = (
        Trained(recipe.make(weight_decay=0.5), mode),
        Oracle(with_arguments(recipe, weight_decay=0.5), values()),
    )
    first, second, *_ = gradients()
    ours.step(tensors(first))
    oracle.step(first)
    kept = oracle.variables[missing].copy()
    slots = {name: slot.copy() for name, slot in oracle.slots[missing].items()}
    with pytest.warns(UserWarning, match=r"Gradients do not exist for variables"):
        ours.step(without(tensors(second), missing))
    second[missing] = np.zeros_like(kept)
    oracle.step(second)
    oracle.variables[missing] = kept
    assert_close(ours.variables, oracle.variables)
    for name, slot in slots.items():
        given = ours.optimizer.get_slot(ours.variables[missing], name)
        assert_close([given], [slot])


def test_a_missing_gradient_is_missing_from_the_mean_too():
    recipe = with_arguments(EXACT[0], gradient_accumulation_steps=2)
    ours, oracle = Trained(recipe.make()), Oracle(EXACT[0], values())
    steps = gradients()
    for missing in (0, 1):
        first, second = steps[2 * missing : 2 * missing + 2]
        ours.step(tensors(first))
        with pytest.warns(UserWarning, match=r"Gradients do not exist"):
            ours.step(without(tensors(second), missing))
        both = mean([first, second])
        both[missing] = np.zeros((TABLE, VECTOR)[missing])
        oracle.step(both)
    assert_close(ours.variables, oracle.variables)


FORMS = {
    "array": numbers,
    "wider array": lambda g: numbers(g).astype("float64"),
    "list": lambda g: numbers(g).tolist(),
    "tuple": lambda g: tuple(numbers(g).tolist()),
    "keras variable": keras.Variable,
    "tensor": keras.ops.convert_to_tensor,
}
if BACKEND == "tensorflow":
    import tensorflow as tf

    FORMS["variable"] = tf.Variable
if BACKEND == "torch":  # whose `Embedding(sparse=True)` has such gradients
    import torch

    def in_halves(g):
        """Each element twice, half of it each time."""
        once = g.to_sparse().coalesce()
        indices, halves = once.indices(), once.values() / 2
        return torch.sparse_coo_tensor(
            indices.repeat(1, 2), halves.repeat(2), g.shape, check_invariants=True
        )

    FORMS["COO"] = lambda g: g.to_sparse()
    FORMS["COO with repeats"] = in_halves


@pytest.mark.parametrize("form", FORMS)
@of_every_recipe
def test_a_dense_gradient_may_come_in_any_form(recipe, form):
    given, plain = Trained(recipe.make()), Trained(recipe.make())
    for step in map(dense, gradients()):
        given.step([FORMS[form](g) for g in step])
        plain.step(step)
    for variable, expected in zip(given.variables, plain.variables, strict=True):
        assert numbers(variable).tobytes() == numbers(expected).tobytes()


def test_a_scalar_takes_a_number_as_its_gradient():
    for g in (2, 2.0, np.float32(2), np.float64(2), np.array(2.0)):
        θ = keras.Variable(1.0)
        SGD(0.25).apply([g], [θ])
        assert numbers(θ) == 0.5


@pytest.mark.needs("tensorflow")
@of_every_recipe
def test_variables_may_be_tensorflow_s_own(recipe):
    import tensorflow as tf

    ours, plain = Trained(recipe.make()), Trained(recipe.make())
    variables = [tf.Variable(value) for value in values()]
    for step in gradients():
        ours.optimizer.apply(tensors(step), variables)
        plain.step(tensors(step))
    for variable, expected in zip(variables, plain.variables, strict=True):
        assert numbers(variable).tobytes() == numbers(expected).tobytes()


@of_every_recipe
def test_a_generator_of_pairs_will_do_and_the_steps_taken_come_back(recipe):
    ours, plain = Trained(recipe.make()), Trained(recipe.make())
    for count, step in enumerate(gradients(), start=1):
        pairs = ((g, v) for g, v in zip(tensors(step), ours.variables, strict=True))
        assert int(ours.optimizer.apply_gradients(pairs)) == count
        plain.step(tensors(step))
    for variable, expected in zip(ours.variables, plain.variables, strict=True):
        assert numbers(variable).tobytes() == numbers(expected).tobytes()


@of_every_recipe
def test_a_step_on_some_of_the_variables_leaves_the_others(recipe):
    ours = Trained(recipe.make())
    ours.step(tensors(gradients()[0]))
    before = numbers(ours.variables[0]).tobytes()
    ours.optimizer.apply([gradients()[1][1]], ours.variables[1:])
    assert numbers(ours.variables[0]).tobytes() == before
