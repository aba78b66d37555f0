"""Where Keras loses an optimizer's state, it is kept; and it can start afresh or grow.

"Goes on" is always to the bit, against an optimizer that nobody touched.
"""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_textbook_opt import SGD, Adam, Momentum, TextbookOptimizer
from tests.backends import few, few_on_jax, numbers
from tests.recipes import Recipe
from tests.same import assert_same

RECIPES = [
    Recipe(SGD, {"use_ema": True, "ema_overwrite_frequency": 3}),
    Recipe(SGD, {"gradient_accumulation_steps": 2}),
    Recipe(Momentum, {"nesterov": True, "weight_decay": 0.1}),
    Recipe(Adam, {"clipnorm": 0.5}),
    Recipe(Adam, {"amsgrad": True, "use_ema": True, "gradient_accumulation_steps": 2}),
]
of_every_recipe = pytest.mark.parametrize(
    "recipe", few_on_jax(RECIPES, slice(1, 5, 3)), ids=str
)
SHAPES = {"a": (2, 3), "b": (3,), "c": ()}
SUFFIXES = ["h5", "keras", "weights.h5"]
STEPS = 3  # in the middle of an accumulation of two


@keras.saving.register_keras_serializable(package="never_lost")
class Ones(TextbookOptimizer):
    """`θ ← θ − η·s·g` with a slot `s ← s + 1` that starts at 1."""

    def create_slots(self, variables: list) -> None:
        for variable in variables:
            self.add_slot(variable, "s", "ones")

    def apply_dense(self, g, θ, η, s):
        return θ - η * s * g, s + 1


def variables(dtype: str = "float32") -> list[keras.Variable]:
    rng = np.random.default_rng(0)
    return [
        keras.Variable(rng.normal(size=shape), name=name, dtype=dtype)
        for name, shape in SHAPES.items()
    ]


def gradients(θ: list[keras.Variable], k: int) -> list[np.ndarray]:
    return [
        np.random.default_rng([k, ord(v.name)]).normal(size=v.shape).astype("float32")
        for v in θ
    ]


def step(optimizer, θ: list[keras.Variable], steps: range) -> list[np.ndarray]:
    """Take the steps of these numbers; all variables, and all state, after the last."""
    for k in steps:
        optimizer.apply(gradients(θ, k), θ)
    return values(θ) + values(optimizer.variables)


def values(of) -> list[np.ndarray]:
    return [numbers(v) for v in of]


def assign(θ: list[keras.Variable], new: list[np.ndarray]) -> None:
    for variable, value in zip(θ, new, strict=True):
        variable.assign(value)


FIRST, NEXT = range(STEPS), range(STEPS, STEPS + 4)

# Legacy `.h5` files.


def make_model(optimizer, dtype: str = "float32") -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, activation="tanh", dtype=dtype, name="hidden")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, dtype=dtype, name="head")(x))
    model.compile(optimizer, keras.losses.MeanSquaredError(), run_eagerly=True)
    return model


def fit(model: keras.Model, graph: bool = False) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    x, y = (rng.normal(size=(12, n)).astype("float32") for n in (3, 1))
    model.run_eagerly = not graph
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    return [*model.get_weights(), *values(model.optimizer.variables)]


@pytest.mark.needs("fit")
@of_every_recipe
def test_a_model_of_a_legacy_file_goes_on(recipe: Recipe, tmp_path):
    model = make_model(recipe.make())
    fit(model)
    model.save(tmp_path / "model.h5")
    loaded = keras.models.load_model(tmp_path / "model.h5")
    assert_same(fit(loaded), fit(model))


@pytest.mark.needs("graphs")
def test_a_model_of_a_legacy_file_goes_on_in_a_graph(tmp_path):
    """JAX compiles two programs for two models, which round differently."""
    model = make_model(Adam(0.1))
    fit(model, graph=True)
    model.save(tmp_path / "model.h5")
    loaded = keras.models.load_model(tmp_path / "model.h5")
    assert_same(fit(loaded, graph=True), fit(model, graph=True))


@pytest.mark.needs("fit")
def test_a_model_of_float16_and_a_legacy_file_goes_on(tmp_path):
    model = make_model(Adam(0.01), "float16")
    fit(model)
    model.save(tmp_path / "model.h5")
    loaded = keras.models.load_model(tmp_path / "model.h5")
    assert_same(fit(loaded), fit(model))


@pytest.mark.needs("fit")
@pytest.mark.parametrize("suffix", ["h5", "keras", "weights.h5"])
def test_a_state_that_waits_is_saved_again(suffix: str, tmp_path):
    """Loaded from a legacy file, saved without a step in between, loaded again."""
    model = make_model(Adam(0.1, amsgrad=True))
    fit(model)
    model.save(tmp_path / "model.h5")
    loaded = keras.models.load_model(tmp_path / "model.h5")
    path = tmp_path / f"again.{suffix}"
    if suffix == "weights.h5":
        loaded.save_weights(path)
        again = make_model(Adam(0.1, amsgrad=True))
        again.load_weights(path)
    else:
        loaded.save(path)
        again = keras.models.load_model(path)
    assert_same(fit(again), fit(model))


@pytest.mark.needs("fit")
@pytest.mark.parametrize(
    ("recipe", "suffix"),
    few([pytest.param(r, s) for r in RECIPES for s in SUFFIXES], slice(0, None, 4)),
    ids=str,
)
def test_a_model_that_was_saved_before_its_first_step_starts_afresh(
    recipe: Recipe, suffix: str, tmp_path
):
    model = make_model(recipe.make())
    path = tmp_path / f"model.{suffix}"
    if suffix == "weights.h5":
        model.save_weights(path)
        loaded = make_model(recipe.make())
        loaded.load_weights(path)
    else:
        model.save(path)
        loaded = keras.models.load_model(path)
    assert_same(fit(loaded), fit(model))


# `pickle` and `copy.deepcopy`.

COPIES = {
    "pickle": lambda optimizer: pickle.loads(pickle.dumps(optimizer)),
    "deepcopy": copy.deepcopy,
    "twice": lambda optimizer: copy.deepcopy(pickle.loads(pickle.dumps(optimizer))),
}
of_every_copy = pytest.mark.parametrize("way", COPIES)


@of_every_copy
@of_every_recipe
def test_a_copy_goes_on(recipe: Recipe, way: str):
    θ, optimizer = variables(), recipe.make()
    step(optimizer, θ, FIRST)
    at = values(θ)
    copied = COPIES[way](optimizer)
    assert copied is not optimizer
    expected = step(optimizer, θ, NEXT)
    assign(θ, at)
    assert_same(step(copied, θ, NEXT), expected)


@of_every_copy
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64:UserWarning")
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_a_copy_goes_on_with_variables_of_another_dtype(way: str, dtype: str):
    """Also on JAX, where a variable of float64 holds float32 unless it is asked."""
    θ, optimizer = variables(dtype), Adam(0.001)
    step(optimizer, θ, FIRST)
    at = values(θ)
    copied = COPIES[way](optimizer)
    expected = step(optimizer, θ, NEXT)
    assign(θ, at)
    assert_same(step(copied, θ, NEXT), expected)


@of_every_copy
def test_a_copy_goes_on_after_the_first_went_on(way: str):
    θ, optimizer = variables(), Adam(0.1)
    step(optimizer, θ, FIRST)
    at, copied = values(θ), COPIES[way](optimizer)
    step(optimizer, θ, range(10, 20))
    assign(θ, at)
    given = step(copied, θ, NEXT)
    assert_same(given, uninterrupted(Adam(0.1)))


def uninterrupted(optimizer) -> list[np.ndarray]:
    θ = variables()
    step(optimizer, θ, FIRST)
    return step(optimizer, θ, NEXT)


@of_every_copy
def test_a_copy_before_the_first_step_starts_afresh(way: str):
    copied = COPIES[way](Adam(0.1, beta_1=0.5))
    assert_same(uninterrupted(copied), uninterrupted(Adam(0.1, beta_1=0.5)))


@of_every_copy
def test_a_learning_rate_that_was_set_is_copied(way: str):
    θ, optimizer = variables(), Momentum(0.1)
    step(optimizer, θ, FIRST)
    optimizer.learning_rate = 0.025
    copied = COPIES[way](optimizer)
    copied.build(θ)
    assert float(copied.learning_rate) == np.float32(0.025)


# A state that waits for its variables.


def waiting(optimizer: Any, θ: list[keras.Variable]) -> Any:
    """A copy of `optimizer` after some steps, which has not seen its variables yet."""
    step(optimizer, θ, FIRST)
    return copy.deepcopy(optimizer)


def test_a_state_that_does_not_fit_goes_on_waiting():
    θ = variables()
    optimizer = waiting(Adam(0.1), θ)
    others = [keras.Variable(np.ones(4, "float32"), name="a")]
    for _ in range(2):
        with pytest.raises(ValueError, match="Nothing was assigned"):
            optimizer.build(others)
        assert not optimizer.built
    assert_same(step(optimizer, θ, NEXT), uninterrupted(Adam(0.1)))


@pytest.mark.parametrize("recipe", RECIPES[-1:], ids=str)
def test_a_first_try_on_other_variables_leaves_nothing_behind(recipe: Recipe):
    θ = variables()
    optimizer = waiting(recipe.make(), θ)
    with pytest.raises(ValueError, match="Nothing was assigned"):
        optimizer.build(θ[:2])
    assert_same(step(optimizer, θ, NEXT), uninterrupted(recipe.make()))


def test_a_newer_state_takes_the_place_of_one_that_waits():
    θ = variables()
    optimizer = waiting(Adam(0.1), θ)
    assign(θ, values(variables()))
    newer = Adam(0.1)
    step(newer, θ, FIRST)
    step(newer, θ, NEXT)
    store: dict = {}
    newer.save_own_variables(store)
    optimizer.load_own_variables(store)
    optimizer.build(θ)
    assert_same(values(optimizer.variables), values(newer.variables))


# `reset_state`.


@of_every_recipe
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_after_a_reset_training_starts_afresh(recipe: Recipe, dtype: str):
    θ = variables(dtype)
    optimizer = recipe.make()
    step(optimizer, θ, FIRST)
    at = values(θ)
    optimizer.reset_state()
    assert_same(values(θ), at)
    assert int(optimizer.iterations) == 0
    given = step(optimizer, θ, NEXT)
    assign(θ, at)
    assert_same(given, step(recipe.make(), θ, NEXT))


def test_a_reset_leaves_the_learning_rate():
    θ, optimizer = variables(), Momentum(0.1)
    step(optimizer, θ, FIRST)
    optimizer.learning_rate = 0.025
    optimizer.reset_state()
    assert float(optimizer.learning_rate) == np.float32(0.025)


def test_a_reset_takes_slots_to_where_they_start():
    θ, optimizer = variables(), Ones(0.1)
    step(optimizer, θ, FIRST)
    np.testing.assert_array_equal(optimizer.get_slot(θ[0], "s"), np.full((2, 3), 4.0))
    optimizer.reset_state()
    np.testing.assert_array_equal(optimizer.get_slot(θ[0], "s"), np.ones((2, 3)))


def test_a_reset_before_the_first_step_changes_nothing():
    optimizer = Adam(0.1)
    optimizer.reset_state()
    assert_same(uninterrupted(optimizer), uninterrupted(Adam(0.1)))


def test_a_reset_is_for_a_state_that_waits_as_well():
    θ = variables()
    optimizer = waiting(Adam(0.1), θ)
    optimizer.reset_state()
    at = values(θ)
    given = step(optimizer, θ, NEXT)
    assign(θ, at)
    assert_same(given, step(Adam(0.1), θ, NEXT))


# Growth.


@of_every_recipe
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_growth_leaves_the_others_their_steps(recipe: Recipe, dtype: str):
    grown, alone = variables(dtype), variables(dtype)
    optimizer, untouched = recipe.make(), recipe.make()
    step(optimizer, grown[:2], FIRST)
    step(untouched, alone[:2], FIRST)
    optimizer.add_variables(grown[2:])
    step(optimizer, grown, NEXT)
    step(untouched, alone[:2], NEXT)
    assert_same(values(grown[:2]), values(alone[:2]))
    assert int(optimizer.iterations) == int(untouched.iterations)


@of_every_recipe
def test_a_variable_that_came_later_steps_on_from_zero_slots(recipe: Recipe):
    """As one that was there from the start and had gradients of zero until now."""
    arguments = {k: v for k, v in recipe.arguments.items() if k != "weight_decay"}
    recipe = Recipe(recipe.optimizer, arguments)
    grown, whole = variables(), variables()
    optimizer, from_the_start = recipe.make(), recipe.make()
    for k in range(4):
        optimizer.apply(gradients(grown[:2], k), grown[:2])
        zero = np.zeros((), "float32")
        from_the_start.apply([*gradients(whole[:2], k), zero], whole)
    optimizer.add_variables(grown)
    step(optimizer, grown, range(4, 8))
    step(from_the_start, whole, range(4, 8))
    assert_same(values(grown), values(whole))
    optimizer.finalize_variable_values(grown)
    from_the_start.finalize_variable_values(whole)
    np.testing.assert_allclose(grown[2], whole[2], rtol=1e-6)


@of_every_recipe
def test_what_has_grown_is_kept(recipe: Recipe):
    θ, optimizer = variables(), recipe.make()
    step(optimizer, θ[:1], FIRST)
    optimizer.add_variables(θ)
    step(optimizer, θ, NEXT)
    at, copied = values(θ), copy.deepcopy(optimizer)
    step(optimizer, θ, FIRST)
    expected = values(θ)
    assign(θ, at)
    step(copied, θ, FIRST)
    assert_same(values(θ), expected)


@of_every_recipe
def test_what_has_grown_has_the_order_of_what_was_built_at_once(recipe: Recipe):
    """Positions are what legacy `.h5` files and TensorFlow's checkpoints keep."""
    θ, optimizer, at_once = variables(), recipe.make(), recipe.make()
    optimizer.build(θ[:1])
    optimizer.add_variables(θ[1:])
    at_once.build(θ)
    own, other = (
        [variable.name for variable in each.variables] for each in (optimizer, at_once)
    )
    assert own == other


def test_what_is_known_is_not_added_again():
    θ, optimizer = variables(), Adam(0.1)
    optimizer.build(θ)
    before = len(optimizer.variables)
    optimizer.add_variables(θ)
    assert len(optimizer.variables) == before


def test_growth_is_for_an_optimizer_that_is_built():
    with pytest.raises(ValueError, match="built before"):
        Adam(0.1).add_variables(variables())


def test_an_integer_variable_is_refused_and_nothing_grown():
    θ, optimizer = variables(), Adam(0.1)
    optimizer.build(θ[:1])
    before = len(optimizer.variables)
    counter = keras.Variable(1, dtype="int32", trainable=False, name="counter")
    with pytest.raises(ValueError, match="floating-point"):
        optimizer.add_variables([θ[1], counter])
    assert len(optimizer.variables) == before
    optimizer.add_variables(θ)
    assert_same(step(optimizer, θ, FIRST)[:3], step(Adam(0.1), variables(), FIRST)[:3])


def test_one_that_came_back_excludes_what_is_added_from_weight_decay():
    θ, optimizer = variables(), SGD(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[θ[0], θ[2]])
    copied = copy.deepcopy(optimizer)
    for each in (optimizer, copied):
        each.build(θ[:2])
        each.add_variables(θ[2:])
        assert [each._use_weight_decay(v) for v in θ] == [False, True, False]


@pytest.mark.needs("fit")
def test_a_layer_that_is_no_longer_frozen_trains(tmp_path: Path):
    model = make_model(Adam(0.1))
    hidden, head = model.get_layer("hidden"), model.get_layer("head")
    hidden.trainable = False
    model.compile(model.optimizer, model.loss)
    fit(model, graph=True)
    frozen = numbers(hidden.kernel)
    m = numbers(model.optimizer.get_slot(head.kernel, "m"))
    hidden.trainable = True
    model.optimizer.add_variables(model.trainable_variables)
    model.compile(model.optimizer, model.loss)
    assert_same([numbers(model.optimizer.get_slot(head.kernel, "m"))], [m])
    fit(model, graph=True)
    assert int(model.optimizer.iterations) == 6
    assert np.all(numbers(hidden.kernel) != frozen)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(fit(loaded, graph=True)[:4], fit(model, graph=True)[:4])


# State that is beside no variable.


class Counting(Ones):
    """It counts in a variable of its own, which is made in a method of this name."""

    def __init__(self, learning_rate: float, place: str):
        super().__init__(learning_rate)
        self.place = place
        self.count_in("__init__")

    def count_in(self, place: str) -> None:
        if self.place == place:
            self.count = self.add_variable((), name="count")

    def build(self, variables) -> None:
        super().build(variables)
        self.count_in("build")

    def create_slots(self, variables: list) -> None:
        super().create_slots(variables)
        self.count_in("create_slots")


@pytest.mark.parametrize("place", ["__init__", "build"])
def test_a_variable_of_ones_own_is_kept(place: str):
    θ, optimizer = variables(), Counting(0.1, place)
    step(optimizer, θ[:2], FIRST)
    optimizer.count.assign(7)
    optimizer.add_variables(θ[2:])
    store: dict[str, np.ndarray] = {}
    optimizer.save_own_variables(store)
    twin = Counting(0.1, place)
    twin.build(θ)
    twin.load_own_variables(store)
    assert numbers(twin.count) == 7
    own, expected = (
        values(sorted(each.variables, key=lambda v: v.name))
        for each in (twin, optimizer)
    )
    assert_same(own, expected)


def test_where_it_would_be_lost_it_is_refused_and_nothing_is_built():
    θ, optimizer = variables(), Counting(0.1, "create_slots")
    before = values(optimizer.variables)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"Received: 'count', .*`__init__`"):
            step(optimizer, θ, FIRST)
        assert not optimizer.built
        assert_same(values(optimizer.variables), before)


# A checkpoint of TensorFlow that was written before the optimizer was built.


@pytest.mark.needs("tensorflow")
def test_a_state_that_waits_is_not_in_a_checkpoint_and_its_restore_says_so(tmp_path):
    import tensorflow as tf

    θ = variables()
    optimizer = waiting(Adam(0.1), θ)
    path = tf.train.Checkpoint(o=optimizer).write(str(tmp_path / "checkpoint"))
    twin = Adam(0.1)
    twin.build(θ)
    with pytest.raises(ValueError, match=r"`build\(variables\)` before it is written"):
        tf.train.Checkpoint(o=twin).read(path)
    optimizer.build(θ)
    path = tf.train.Checkpoint(o=optimizer).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(o=twin).read(path).assert_consumed()
    assert_same(values(twin.variables), values(optimizer.variables))


@pytest.mark.needs("tensorflow")
@of_every_recipe
def test_a_checkpoint_of_before_the_first_step_starts_afresh(recipe: Recipe, tmp_path):
    import tensorflow as tf

    θ, optimizer = variables(), recipe.make()
    at, checkpoint = values(θ), tf.train.Checkpoint(o=optimizer)
    path = checkpoint.write(str(tmp_path / "checkpoint"))
    expected = step(optimizer, θ, NEXT)
    assign(θ, at)
    checkpoint.read(path)
    assert_same(step(optimizer, θ, NEXT), expected)
