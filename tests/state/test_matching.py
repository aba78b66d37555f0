"""Which saved variable is which of those here, told by names and by what they hold."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt.state.identity import Identity
from keras_textbook_opt.state.matching import (
    by_contents,
    by_names,
    same_paths,
    what_fits,
)

pytestmark = pytest.mark.once


def variables(
    paths: Sequence[str], holds: Sequence[float] = (), frozen: Sequence[str] = ()
) -> list[Identity]:
    """Of these paths; each holds a number, that of its place unless it is said."""
    return [
        Identity(
            path, (), trainable=path not in frozen, sample=np.array([number], "float32")
        )
        for path, number in zip(paths, holds or range(len(paths)), strict=True)
    ]


LAYERS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True)


@given(layers=LAYERS, data=st.data())
def test_unique_names_tell_who_is_who_in_any_order(layers, data):
    """Also where some of those that were frozen are not here any more."""
    frozen = data.draw(st.lists(st.sampled_from(layers), unique=True))
    gone = data.draw(st.lists(st.sampled_from(frozen), unique=True)) if frozen else []
    here = data.draw(st.permutations([name for name in layers if name not in gone]))
    match = by_names(variables(layers, frozen=frozen), variables(here))
    assert match == {h: layers.index(name) for h, name in enumerate(here)}


@given(layers=LAYERS, data=st.data())
def test_names_tell_nothing_where_one_that_was_trained_is_missing(layers, data):
    missing = data.draw(st.sampled_from(layers))
    here = [name for name in layers if name != missing]
    assert by_names(variables(layers), variables(here)) is None


@given(
    saved=st.lists(st.sampled_from("abcd"), max_size=6),
    here=st.lists(st.sampled_from("abcd"), max_size=6),
)
def test_a_path_that_is_there_twice_tells_nothing(saved, here):
    once = {p for p in "abcd" if saved.count(p) == here.count(p) == 1}
    expected = {here.index(path): saved.index(path) for path in once}
    assert same_paths(variables(saved), variables(here)) == expected


@given(layers=LAYERS, data=st.data())
def test_contents_tell_who_is_who_whatever_the_names(layers, data):
    """Also where some of those that were frozen are not here any more."""
    places = data.draw(st.permutations(range(len(layers))))
    frozen = data.draw(st.lists(st.sampled_from(layers), unique=True))
    gone = data.draw(st.lists(st.sampled_from(frozen), unique=True)) if frozen else []
    places = [s for s in places if layers[s] not in gone]
    here = variables([f"z{k}" for k in range(len(places))], places)
    match = by_contents(variables(layers, frozen=frozen), here, None)
    assert match == dict(enumerate(places))


@given(layers=LAYERS, data=st.data())
def test_contents_tell_nothing_alone_where_one_that_was_trained_is_missing(
    layers, data
):
    missing = data.draw(st.sampled_from(range(len(layers))))
    places = [s for s in range(len(layers)) if s != missing]
    here = variables([f"z{k}" for k in range(len(places))], places)
    assert by_contents(variables(layers), here, None) is None


@given(order=st.permutations(range(4)))
def test_what_several_hold_is_where_its_siblings_are(order):
    """All biases are zero: a layer's kernel says whose bias it is."""
    saved = variables(
        [f"model/layer{k}/{name}" for k in range(4) for name in ("bias", "kernel")],
        [number for k in range(4) for number in (0.0, k + 1.0)],
    )
    here = variables(
        [f"other/other{k}/{name}" for k in range(4) for name in ("bias", "kernel")],
        [number for k in order for number in (0.0, k + 1.0)],
    )
    expected = {
        2 * h + part: 2 * k + part for h, k in enumerate(order) for part in (0, 1)
    }
    assert by_contents(saved, here, None) == expected
    assert by_contents(saved, here, dict(enumerate(range(8)))) == expected


@given(
    match=st.permutations(range(3)),
    moved=st.permutations([3, 4]),
    layers=st.sampled_from(["abcde", ["a/x", "b/x", "c/x", "d/x", "e/x"]]),
)
def test_what_several_hold_stays_where_names_have_it(match, moved, layers):
    """Also where what others hold says that names are wrong about those."""
    holds = [0.0, 0.0, 0.0, 1.0, 2.0]
    saved = variables(layers, holds)
    here = variables(layers, [*holds[:3], *(holds[s] for s in moved)])
    by_name = dict(enumerate([*match, 3, 4]))
    expected = dict(enumerate([*match, *moved]))
    assert by_contents(saved, here, by_name) == expected


def test_nobody_is_two_of_those_here():
    """Two copies of one layer hold the same, and both cannot be it."""
    saved = variables(["a", "b"], [1.0, 2.0])
    copies = variables(["a", "b"], [1.0, 1.0])
    assert by_contents(saved, copies, None) is None
    assert by_contents(saved, copies, {0: 0, 1: 1}) == {0: 0, 1: 1}
    assert what_fits(saved, copies) == {0: 0, 1: 1}


def test_contents_tell_nothing_alone_where_one_is_new():
    saved = variables(["a", "b"], [1.0, 2.0])
    assert by_contents(saved, variables(["x", "y", "z"], [1.0, 2.0, 9.0]), None) is None


def test_what_fits_is_taken_and_the_rest_is_left():
    saved = variables(["a", "b", "c"], [1.0, 2.0, 3.0])
    here = variables(["b", "new", "a"], [2.0, 9.0, 1.0])
    assert what_fits(saved, here) == {0: 1, 2: 0}
    swapped = variables(["b", "new", "a"], [1.0, 9.0, 2.0])
    assert what_fits(saved, swapped) == {0: 0, 2: 1}
