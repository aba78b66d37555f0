"""Damaged, hostile and mutated files: an error that says so, or bit for bit right.

An error leaves the optimizer as it was, and no file costs more time or memory than its
arrays deserve.
"""

import contextlib
import copy
import json
import random
import re
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from keras_textbook_opt import Adam, Momentum
from keras_textbook_opt.state import archive
from tests.backends import LONG, few, numbers
from tests.histories import named as named_by
from tests.histories import recorded
from tests.same import assert_same
from tests.state.stores import (
    built,
    document,
    fit,
    model,
    named,
    saved,
    step,
    trained,
    values,
    variables,
    with_document,
    within,
)

MEGABYTE = 2**20
FEW_OR_MANY = [20, pytest.param(300, marks=LONG)]
SETTINGS: dict[str, Any] = {
    "weight_decay": 0.1,
    "learning_rate_multipliers": {"a": 0.5},
    "exclude_from_weight_decay": ["b"],
}
Store = dict[str, Any]
before_or_after_build = pytest.mark.parametrize("build", [True, False])


def new() -> Adam:
    return Adam(0.1, **SETTINGS)


@contextlib.contextmanager
def bounded(megabytes: float = 64, seconds: float = 20) -> Iterator[None]:
    """An error where the body takes more time or more memory of Python."""
    tracemalloc.start()
    try:
        with within(seconds):
            yield
        peak = tracemalloc.get_traced_memory()[1] / MEGABYTE
    finally:
        tracemalloc.stop()
    assert peak < megabytes, f"{peak:.0f} MB"


def refusal(store: Any, build: bool = True) -> str:
    """The error of a load, after which nothing has changed."""
    optimizer, θ = new(), variables()
    if build:
        optimizer.build(θ)
    before = values(optimizer.variables)
    with pytest.raises(ValueError) as error, bounded():
        optimizer.load_own_variables(store)
    assert_same(values(optimizer.variables), before)
    step(optimizer, θ)
    step(other := new(), expected := variables())
    assert_same(values(θ), values(expected))
    assert_same(values(optimizer.variables), values(other.variables))
    return str(error.value)


# Each kind of damage.

AN_ARRAY = "0.slot.m"


def without(name: str) -> Callable[[Store], Store]:
    return lambda store: {k: v for k, v in store.items() if k != name}


def put(value: Callable[[np.ndarray], Any]) -> Callable[[Store], Store]:
    return lambda store: store | {AN_ARRAY: value(store[AN_ARRAY])}


DAMAGES: dict[str, Callable[[Store], Store]] = {
    "a missing array": without(AN_ARRAY),
    "a missing count": without("own.iteration"),
    "no document": without("document"),
    "another shape": put(lambda array: np.zeros((7, *array.shape), array.dtype)),
    "another dtype": put(lambda array: array.astype("int8")),
    "text": put(lambda array: np.full(array.shape, "x")),
    "a document of floats": lambda store: store | {"document": np.zeros(3)},
    "no JSON": lambda store: with_document(store, b"{"),
    "no text": lambda store: with_document(store, b"\xff\xfe"),
    "a list": lambda store: with_document(store, []),
    "deep nesting": lambda store: with_document(store, b"[" * 100_000),
}


@before_or_after_build
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_refused_and_nothing_changes(damage: str, build: bool):
    assert "corrupted" in refusal(DAMAGES[damage](saved(trained(new()))), build)


def test_each_byte_of_the_document_is_checked():
    store = saved(trained(new()))
    for k in range(len(store["document"])):
        damaged = store["document"].copy()
        damaged[k] ^= 1
        with pytest.raises(ValueError, match="corrupted"):
            archive.read(store | {"document": damaged})


@pytest.mark.parametrize("number", [2, 99, 10**30])
def test_a_newer_format_is_named(number: int):
    said = refusal(with_document(saved(trained(new())), {"format": number}))
    assert f"format {number}" in said and "Upgrade" in said


@pytest.mark.parametrize("count", FEW_OR_MANY)
def test_a_mutated_document_is_an_error_or_right_or_named(count: int):
    """A value or a list of the document is replaced or left out, at random."""
    before = trained(new(), θ := variables())
    store, rng = saved(before), random.Random(1)
    expected = {v.path: numbers(before.get_slot(v, "v")) for v in θ}
    for _ in range(count):
        content = document(store)
        said = mutate(content, rng)
        build = rng.random() < 0.5
        optimizer = built(new(), θ) if build else new()
        at = values(optimizer.variables)
        try:
            with recorded() as warned, within(10):
                optimizer.load_own_variables(with_document(store, content))
                optimizer.build(θ)
                saved(optimizer)
        except ValueError as error:
            assert re.search("corrupted|`factor`|Upgrade", str(error)), said
            assert_same(values(optimizer.variables), at, said)
            continue
        with recorded() as at_first_step:
            step(optimizer, θ, 1)
            assert len(warned + at_first_step) <= 1, said
        fresh = named_by(warned + at_first_step, θ)
        for k, v in enumerate(θ):
            started = 0.0 if k in fresh else expected[v.path]
            g = np.random.default_rng([0, *v.name.encode()]).normal(size=v.shape)
            found = numbers(optimizer.get_slot(v, "v"))
            β_2 = float(np.float32(0.999))
            wanted = β_2 * started + (1 - β_2) * g**2
            np.testing.assert_allclose(found, wanted, rtol=1e-5, err_msg=said)


JUNK: list[Any] = [None, -5, 0.5, "x", [], {}, True, float("nan"), 10**12, [[1]]]
JUNK += [{"a": 1}, "", [-2, -3], [2**40, 2**40], ["2"]]


def mutate(content: Any, rng: random.Random) -> str:
    """Change one place in what JSON holds; says what was changed."""
    places = []

    def visit(node: Any, path: str) -> None:
        keys = node if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key, f"{path}/{key}"))
            if isinstance(node[key], (dict, list)):
                visit(node[key], f"{path}/{key}")

    visit(content, "")
    node, key, path = rng.choice(places)
    if rng.random() < 0.25:
        del node[key]
        return f"{path} left out"
    node[key] = copy.deepcopy(rng.choice(JUNK))
    return f"{path} = {node[key]!r}"


# HDF5 files.


def weights_file(folder: Path, edit: Callable[[h5py.Group], Any]) -> Path:
    path = folder / "of.weights.h5"
    fit(model(new())).save_weights(path)
    with h5py.File(path, "a") as file:
        edit(file["optimizer/vars"])
    return path


def in_place(create: Callable[[h5py.Group, np.ndarray], Any]) -> Callable:
    """Put what `create` makes in the place of an array, which it gets."""

    def edit(group: h5py.Group) -> None:
        old = group[AN_ARRAY][...]
        del group[AN_ARRAY]
        create(group, old)

    return edit


def damaged_chunk(group: h5py.Group, old: np.ndarray) -> None:
    new = group.create_dataset(AN_ARRAY, data=old, chunks=old.shape, compression="gzip")
    new.id.write_direct_chunk((0,) * old.ndim, b"damaged")


def external_link(group: h5py.Group, old: np.ndarray) -> None:
    """The other file has what is expected."""
    other = Path(group.file.filename).with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["there"] = old
    group[AN_ARRAY] = h5py.ExternalLink(other.name, "there")


def external_storage(group: h5py.Group, old: np.ndarray) -> None:
    other = Path(group.file.filename).with_name("raw")
    other.write_bytes(old.tobytes())
    stored = [(str(other), 0, old.nbytes)]
    group.create_dataset(AN_ARRAY, old.shape, old.dtype, external=stored)


def circle(group: h5py.Group, old: np.ndarray) -> None:
    group[AN_ARRAY] = h5py.SoftLink(f"{group.name}/{AN_ARRAY}")


def declared(group: h5py.Group, old: np.ndarray) -> None:
    """2 GB that are not there."""
    group.create_dataset(AN_ARRAY, (500_000_000,), "float32", chunks=(1024,))


def large_document(group: h5py.Group) -> None:
    """1 GB of spaces, of which the file has nothing."""
    del group["document"]
    more = {"chunks": (2**20,), "compression": "gzip", "fillvalue": 32}
    group.create_dataset("document", (2**30,), "uint8", **more)


def many(key: str) -> Callable[[h5py.Group], None]:
    """20,000 times the same variable, or as many kinds of one."""

    def edit(group: h5py.Group) -> None:
        content = document({"document": group["document"][...]})
        first = content["variables"][0]
        first["kinds"] |= {f"slot.{k}": 0 for k in range(20_000 * (key == "kinds"))}
        content["variables"] = [first] * (1 if key == "kinds" else 20_000)
        del group["document"]
        group["document"] = with_document({}, content)["document"]

    return edit


HOSTILE: dict[str, Callable[[h5py.Group], Any]] = {
    "a damaged chunk": in_place(damaged_chunk),
    "a link to another file": in_place(external_link),
    "storage in another file": in_place(external_storage),
    "an array of 2 GB that is declared": in_place(declared),
    "a group": in_place(lambda group, old: group.create_group(AN_ARRAY)),
    "a link in a circle": in_place(circle),
    "a document of 1 GB": large_document,
    "one variable 20,000 times": many("variables"),
    "20,000 kinds of one variable": many("kinds"),
}


@pytest.mark.needs("fit")
@before_or_after_build
@pytest.mark.parametrize("edit", few([*HOSTILE], slice(1, None, 3)))
def test_a_hostile_file_is_refused_at_the_cost_of_its_arrays(
    edit: str, build: bool, tmp_path
):
    path = weights_file(tmp_path, HOSTILE[edit])
    here = model(new(), seed=2)
    if build:
        here.optimizer.build(here.trainable_variables)
    before = values(here.optimizer.variables)
    with pytest.raises(ValueError, match="corrupted"), bounded(megabytes=200):
        here.load_weights(path)
    assert_same(values(here.optimizer.variables), before)
    with pytest.warns(UserWarning, match="corrupted"), bounded(megabytes=200):
        here.load_weights(path, skip_mismatch=True)
    assert_same(values(here.optimizer.variables), before)
    fit(here)


# Configs.

WRONG = [*JUNK, [1], [["alpha", -1]], {"alpha": "b"}, [None], 1e400]
HANGING = ["(a+)+$", "(a|aa)+$", "*a" * 25 + "*b", "a*" * 25 + "b$"]


def config_of() -> dict[str, Any]:
    return keras.optimizers.serialize(Momentum(0.1, **SETTINGS))


def mutations(count: int) -> list[tuple[str, Any]]:
    every = [(key, junk) for key in config_of()["config"] for junk in WRONG]
    random.Random(0).shuffle(every)
    factors = [("learning_rate_multipliers", [[each, 0.5]]) for each in HANGING]
    excluded = [("exclude_from_weight_decay", [each]) for each in HANGING]
    return [*factors, *excluded, *every[:count]]


@pytest.mark.parametrize("count", [40, pytest.param(10_000, marks=LONG)])
def test_a_mutated_config_is_a_value_error_or_an_optimizer_that_trains(count: int):
    """And no pattern hangs a load."""
    problems = []
    for key, junk in mutations(count):
        config = config_of()
        config["config"][key] = junk
        with warnings.catch_warnings(), within(10):
            warnings.simplefilter("ignore")
            try:
                optimizer = keras.optimizers.deserialize(config)
                step(optimizer, [*variables(), named("a" * 500, 1.0)])
                json.dumps(keras.optimizers.serialize(optimizer))
            except Exception as error:
                if type(error) is not ValueError or f"`{key}`" not in str(error):
                    problems.append(f"{key}={junk!r}: {type(error)} {error}")
    assert not problems, "\n\n".join(problems)


def contents_of(of: keras.Model) -> list[np.ndarray]:
    config = json.dumps(keras.optimizers.serialize(of.optimizer), sort_keys=True)
    return [np.array(config), *values(of.variables), *values(of.optimizer.variables)]


@pytest.mark.once
@pytest.mark.parametrize("count", [6, pytest.param(300, marks=pytest.mark.crash)])
@pytest.mark.parametrize("damage", ["truncated", "a flipped bit"])
def test_a_keras_file_damaged_at_any_byte_is_an_error_or_right(
    damage: str, count: int, tmp_path
):
    path = tmp_path / "model.keras"
    fit(first := model(new())).save(path)
    content, expected = path.read_bytes(), contents_of(first)
    rng, errors = random.Random(damage), 0
    for _ in range(count):
        changed, place = bytearray(content), rng.randrange(len(content))
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(content[:place] if damage == "truncated" else changed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                loaded = keras.saving.load_model(path)
            except Exception:
                errors += 1
                continue
        assert_same(contents_of(loaded), expected, f"{damage} at {place}")
    assert errors == count if damage == "truncated" else errors > 0
