"""State is saved under names, and every entry is checked before one is assigned."""

from __future__ import annotations

import functools
import io
import itertools
import re
import zipfile

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import SGD, Adam, Momentum, TextbookOptimizer
from tests.backends import gradient, numbers
from tests.recipes import Recipe
from tests.same import assert_same

RECIPES = [
    Recipe(SGD),
    Recipe(Momentum, {"use_ema": True}),
    Recipe(Adam, {"gradient_accumulation_steps": 2}),
    Recipe(Adam, {"amsgrad": True, "use_ema": True}),
]
of_every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=str)
SHAPES = {"a": (2, 3), "b": (3,)}
DAMAGES = ["missing", "wrong shape", "wrong dtype"]


def variables() -> list[keras.Variable]:
    return [made(shape, name) for name, shape in SHAPES.items()]


def made(shape: tuple, name: str, dtype: str = "float32") -> keras.Variable:
    return keras.Variable(np.ones(shape), name=name, dtype=dtype)


def trained(optimizer, θ: list[keras.Variable] | None = None):
    """`optimizer` after three steps, an odd count, on gradients of its own."""
    θ = θ or variables()
    rng = np.random.default_rng(7)
    for _ in range(3):
        gradients = [gradient(rng.normal(size=v.shape), v.shape, "float32") for v in θ]
        optimizer.apply(gradients, θ)
    return optimizer


def built(optimizer, θ: list[keras.Variable] | None = None):
    optimizer.build(θ or variables())
    return optimizer


def saved(optimizer) -> dict[str, np.ndarray]:
    store: dict[str, np.ndarray] = {}
    optimizer.save_own_variables(store)
    return store


def entries(store: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value for name, value in store.items() if name != "names"}


def values(optimizer) -> list[np.ndarray]:
    return [numbers(v) for v in optimizer.variables]


def refused(optimizer, store) -> str:
    """The error with which `optimizer` refuses `store`, as the one it was before."""
    before = values(optimizer)
    with pytest.raises(ValueError, match="Nothing was assigned") as error:
        optimizer.load_own_variables(store)
    assert_same(values(optimizer), before)
    return str(error.value)


def make_model(optimizer, names=("first", "second"), dtype="float32") -> keras.Model:
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((3,))
    for name in names:
        x = keras.layers.Dense(3, name=name, dtype=dtype)(x)
    model = keras.Model(inputs, x)
    model.compile(optimizer, keras.losses.MeanSquaredError(), run_eagerly=True)
    return model


def stepped(model: keras.Model, steps: int = 3) -> keras.Model:
    rng = np.random.default_rng(2)
    for _ in range(steps):
        x, y = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
        model.train_on_batch(x.astype("float32"), y.astype("float32"))
    return model


NAMES = {
    "iteration",
    "learning_rate",
    *(
        f"{slot}/{layer}/{weight}"
        for slot in ("m", "v", "v_hat", "average", "gradient_accumulator")
        for layer in ("first", "second")
        for weight in ("kernel", "bias")
    ),
}


def everything(learning_rate=0.1) -> Adam:
    return Adam(
        learning_rate, amsgrad=True, use_ema=True, gradient_accumulation_steps=2
    )


def names_in(group: h5py.Group) -> set[str]:
    found: set[str] = set()

    def visit(name: str, item) -> None:
        if isinstance(item, h5py.Dataset):
            found.add(name)

    group.visititems(visit)
    return found


# Names.


@pytest.mark.needs("fit")
def test_names_are_of_slot_and_variable_in_weights_files(tmp_path):
    stepped(make_model(everything())).save_weights(tmp_path / "of.weights.h5")
    with h5py.File(tmp_path / "of.weights.h5") as file:
        assert names_in(file["optimizer/vars"]) == NAMES | {"names"}


@pytest.mark.needs("fit")
def test_names_are_of_slot_and_variable_in_keras_files(tmp_path):
    stepped(make_model(everything())).save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content) as file:
        assert names_in(file["optimizer/vars"]) == NAMES | {"names"}
        slot = file["optimizer/vars/m/first/kernel"]
        assert slot.shape == (3, 3)
        assert slot.dtype == "float32"


def test_a_schedule_leaves_no_learning_rate():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
    assert list(entries(saved(built(Momentum(schedule))))) == [
        "iteration",
        "m/a",
        "m/b",
    ]


def test_a_carry_is_named_as_well():
    θ = [made((3,), "a", "bfloat16")]
    store = entries(saved(built(Momentum(0.1), θ)))
    assert {"m/a", "carry/a"} < set(store)
    assert store["carry/a"].dtype == "float32"


def test_equal_paths_are_numbered():
    θ = [made((3,), "a") for _ in range(3)]
    names = list(entries(saved(built(Momentum(0.1), θ))))
    assert names == ["iteration", "learning_rate", "m/a", "m/a#2", "m/a#3"]


def test_a_path_may_go_on_where_another_ends(tmp_path):
    """`block/dense` is a weight, and `block/dense/kernel` is one of a layer."""
    θ = [made((2,), "dense")]
    with keras.name_scope("dense"):
        θ.append(made((3,), "kernel"))
    assert [v.path for v in θ] == ["dense", "dense/kernel"]
    optimizer = trained(Momentum(0.1), θ)
    with h5py.File(tmp_path / "state.h5", "w") as file:
        optimizer.save_own_variables(file)
    twin = built(Momentum(0.1), θ)
    with h5py.File(tmp_path / "state.h5") as file:
        twin.load_own_variables(file)
    assert_same(values(twin), values(optimizer))


def test_a_subclass_may_call_its_variable_names():
    class Named(TextbookOptimizer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.names = self.add_variable((), name="names")

        def apply_dense(self, g, θ, η):
            return θ - η * g

    optimizer = built(Named(0.1))
    optimizer.names.assign(3.0)
    twin = built(Named(0.1))
    twin.load_own_variables(saved(optimizer))
    assert_same(values(twin), values(optimizer))


@pytest.mark.needs("tensorflow")
def test_a_checkpoint_has_the_layout_of_the_built_in_and_a_list(tmp_path):
    """Variables by position; the list says whose they are."""
    import tensorflow as tf

    optimizers = {"ours": Adam(0.1), "keras": keras.optimizers.Adam(0.1)}
    for name, optimizer in optimizers.items():
        tf.train.Checkpoint(optimizer=trained(optimizer)).write(str(tmp_path / name))
    ours, theirs = (
        tf.train.list_variables(str(tmp_path / name)) for name in ("ours", "keras")
    )
    more: tuple[str, list] = ("optimizer/_in_a_checkpoint/.ATTRIBUTES/py_state", [])
    assert sorted([*theirs, more]) == sorted(ours)
    for name, optimizer in optimizers.items():
        (other,) = optimizers.keys() - {name}
        twin = built(type(optimizer)(0.1))
        checkpoint = tf.train.Checkpoint(optimizer=twin)
        checkpoint.read(str(tmp_path / other)).expect_partial()
        assert_same(values(twin), values(optimizers[other]))


# Loading.


@of_every_recipe
def test_what_was_saved_is_loaded(recipe: Recipe):
    optimizer = trained(recipe.make())
    twin = built(recipe.make())
    twin.load_own_variables(saved(optimizer))
    assert_same(values(twin), values(optimizer))


@functools.cache
def loaded(recipe: Recipe):
    """What one optimizer saved, and another that loads it."""
    return saved(trained(recipe.make())), built(recipe.make())


@of_every_recipe
@given(data=st.data())
def test_every_wrong_entry_is_named_and_nothing_assigned(recipe: Recipe, data):
    store, optimizer = loaded(recipe)
    store = dict(store)
    names = list(entries(store))
    damages = data.draw(
        st.dictionaries(st.sampled_from(names), st.sampled_from(DAMAGES)), "damages"
    )
    unexpected = data.draw(st.sets(st.sampled_from(["m/c", "w/a", "velocity"])), "more")
    for name, damage in damages.items():
        damaged(store, name, damage)
    store |= {name: np.zeros(2, "float32") for name in unexpected}
    if not damages and not unexpected:
        optimizer.load_own_variables(store)
        return
    listed = re.findall(r"^- (\S+) (.*)$", refused(optimizer, store), re.MULTILINE)
    assert {name for name, _ in listed} == {*damages, *unexpected}
    for name, problem in listed:
        assert SAID[damages.get(name, "unexpected")] in problem


SAID = {
    "missing": "is missing",
    "wrong shape": "is of shape",
    "wrong dtype": "is of dtype",
    "unexpected": "is not expected",
}


def damaged(store: dict[str, np.ndarray], name: str, damage: str) -> None:
    if damage == "missing":
        del store[name]
    elif damage == "wrong shape":
        store[name] = np.zeros((*store[name].shape, 2), store[name].dtype)
    else:
        store[name] = store[name].astype("float16")


@pytest.mark.parametrize(
    ("kind", "other"), list(itertools.permutations([SGD, Momentum, Adam], 2))
)
def test_the_state_of_another_optimizer_is_refused(kind: type, other: type):
    store = saved(trained(other(0.1)))
    optimizer = built(kind(0.1))
    message = refused(optimizer, store)
    differ = {*entries(store)} ^ {*entries(saved(optimizer))}
    assert differ
    assert all(name in message for name in differ)


@pytest.mark.needs("fit")
def test_a_weights_file_of_another_optimizer_is_refused(tmp_path):
    file = tmp_path / "of.weights.h5"
    stepped(make_model(Momentum(0.1))).save_weights(file)
    model = stepped(make_model(Adam(0.1)), steps=2)
    before = values(model.optimizer)
    with pytest.raises(ValueError, match="v/second/bias is missing"):
        model.load_weights(file)
    assert_same(values(model.optimizer), before)


@pytest.mark.needs("fit")
def test_a_weights_file_with_an_entry_gone_is_refused(tmp_path):
    file = tmp_path / "of.weights.h5"
    model = stepped(make_model(Adam(0.1)))
    model.save_weights(file)
    with h5py.File(file, "a") as content:
        del content["optimizer/vars/v/first/bias"]
    with pytest.raises(ValueError, match="- v/first/bias is missing\nNothing"):
        model.load_weights(file)


def test_a_damaged_archive_is_refused(tmp_path):
    class Store(dict):
        archive: zipfile.ZipFile

    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights", b"0123456789")
    path.write_bytes(path.read_bytes().replace(b"345", b"354"))
    optimizer = trained(Adam(0.1))
    store = Store(saved(optimizer))
    twin = built(Adam(0.1))
    before = values(twin)
    store.archive = zipfile.ZipFile(path)
    with store.archive, pytest.raises(ValueError, match="damaged in 'weights'"):
        twin.load_own_variables(store)
    assert_same(values(twin), before)


@pytest.mark.needs("fit")
def test_weights_in_shards_come_back(tmp_path):
    model = stepped(make_model(everything()))
    model.save_weights(tmp_path / "of.weights.json", max_shard_size=700 / 1024**3)
    assert len(list(tmp_path.glob("*.h5"))) > 1
    twin = make_model(everything())
    twin.optimizer.build(twin.trainable_variables)
    twin.load_weights(tmp_path / "of.weights.json")
    assert_same(values(twin.optimizer), values(model.optimizer))


# A model that was built again.


@pytest.mark.needs("fit")
@pytest.mark.parametrize("suffix", ["keras", "weights.h5"])
def test_layers_numbered_on_match_in_their_order(suffix: str, tmp_path):
    """Twelve, since `dense_10` is before `dense_9` in an alphabet."""
    count = [None] * 12
    model = stepped(make_model(Adam(0.1), count))
    path = tmp_path / f"of.{suffix}"
    model.save(path) if suffix == "keras" else model.save_weights(path)
    twin = stepped(make_model(Adam(0.1), count), steps=1)
    paths = [[v.path for v in m.trainable_variables] for m in (model, twin)]
    assert paths[0] != paths[1]
    twin.load_weights(path)
    assert_same(values(twin.optimizer), values(model.optimizer))


def test_a_path_with_the_name_of_the_model_matches_one_without():
    layers = ["first", "second"]
    inside = keras.Sequential([keras.layers.Dense(3, name=name) for name in layers])
    inside.build((None, 3))
    outside = make_model(Adam(0.1), layers)
    paths = [[v.path for v in m.trainable_variables] for m in (inside, outside)]
    assert paths[0] == [f"{inside.name}/{path}" for path in paths[1]]
    optimizer = trained(Adam(0.1), inside.trainable_variables)
    twin = built(Adam(0.1), outside.trainable_variables)
    twin.load_own_variables(saved(optimizer))
    assert_same(values(twin), values(optimizer))
    optimizer.load_own_variables(saved(twin))
    assert_same(values(optimizer), values(twin))


def test_another_name_is_another_variable():
    optimizer = trained(Momentum(0.1))
    θ = [made(shape, name) for name, shape in zip("ac", SHAPES.values())]
    message = refused(built(Momentum(0.1), θ), saved(optimizer))
    assert "- m/c is missing" in message
    assert "- m/b is not expected" in message


def test_the_same_names_match_in_any_order():
    optimizer = trained(Adam(0.1), θ := variables())
    twin = built(Adam(0.1), θ[::-1])
    twin.load_own_variables(saved(optimizer))
    for variable in θ:
        for slot in ("m", "v"):
            np.testing.assert_array_equal(
                twin.get_slot(variable, slot), optimizer.get_slot(variable, slot)
            )


# The layout of the built-ins.

POSITIONAL = [
    Recipe(SGD, {"use_ema": True}),
    Recipe(SGD, {"gradient_accumulation_steps": 2}),
    Recipe(Momentum),
    Recipe(Momentum, {"use_ema": True, "gradient_accumulation_steps": 2}),
    Recipe(Adam),
    Recipe(Adam, {"amsgrad": True}),
    Recipe(Adam, {"amsgrad": True, "use_ema": True, "gradient_accumulation_steps": 2}),
]


@pytest.mark.parametrize("recipe", POSITIONAL, ids=str)
def test_the_positional_layout_is_read(recipe: Recipe):
    built_in = trained(recipe.make_keras())
    store = saved(built_in)
    assert "0" in store
    optimizer = built(recipe.make())
    optimizer.load_own_variables(store)
    assert_same(values(optimizer), values(built_in))


def test_the_positional_layout_of_more_than_ten_values_is_read():
    θ = [made((2,), f"v{k}") for k in range(9)]
    built_in = trained(keras.optimizers.Adam(0.1), θ)
    optimizer = built(Adam(0.1), θ)
    optimizer.load_own_variables(saved(built_in))
    assert_same(values(optimizer), values(built_in))


@pytest.mark.needs("fit")
def test_a_weights_file_of_a_built_in_is_read(tmp_path):
    file = tmp_path / "of.weights.h5"
    model = stepped(make_model(keras.optimizers.Adam(0.1)))
    model.save_weights(file)
    twin = make_model(Adam(0.1))
    twin.load_weights(file)
    twin.optimizer.build(twin.trainable_variables)
    assert_same(values(twin.optimizer), values(model.optimizer))


def test_slots_of_16_bits_are_widened():
    θ = [made(shape, name, "bfloat16") for name, shape in SHAPES.items()]
    built_in = trained(keras.optimizers.Adam(0.1), θ)
    optimizer = trained(Adam(0.1), θ)
    optimizer.load_own_variables(saved(built_in))
    slots = [optimizer.get_slot(v, slot) for v in θ for slot in ("m", "v")]
    for slot, value in zip(slots, values(built_in)[2:], strict=True):
        np.testing.assert_array_equal(slot, value.astype("float32"))
    for variable in optimizer.variables[-2:]:
        np.testing.assert_array_equal(variable, np.zeros(variable.shape))


@of_every_recipe
@pytest.mark.parametrize("more", [-1, 1])
def test_another_count_of_values_is_refused(recipe: Recipe, more: int):
    store = saved(trained(recipe.make_keras()))
    count = len(store)
    if more < 0:
        del store[str(count - 1)]
    else:
        store[str(count)] = np.zeros(3, "float32")
    message = refused(built(recipe.make()), store)
    assert f"expected {count} values" in message
    assert f"not {count + more}" in message


def test_a_position_of_another_shape_is_named():
    store = saved(trained(keras.optimizers.Adam(0.1)))
    store["2"], store["5"] = np.zeros(4, "float32"), np.zeros(3, "float64")
    message = refused(built(Adam(0.1)), store)
    assert "- m/a is of shape (4,), not (2, 3)" in message
    assert "- v/b is of dtype float64, not float32" in message


def test_a_position_among_names_is_not_expected():
    optimizer = built(Adam(0.1))
    store = saved(optimizer) | {"0": np.zeros(2, "float32")}
    assert "- 0 is not expected" in refused(optimizer, store)
