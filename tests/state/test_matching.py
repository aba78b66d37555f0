"""Which saved variable is which variable here: by contents, by path, by position.

The state of a saved variable is its place from 1, in a velocity that a step with a
gradient of zero keeps; so 0 is a variable that starts fresh.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import Momentum
from tests.histories import named as named_by
from tests.histories import recorded
from tests.state.stores import built, named, saved, within

FRESH = 0
NAMES = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True)


def matched(was: list, here: list, build: bool) -> list[int]:
    """The place from 1 of each variable's counterpart among those that were saved.

    Variables are given as `named` takes them, or as text as in the table below.
    """
    θ_was, θ = ([named(*pair) for pair in parsed(each)] for each in (was, here))
    before, optimizer = built(Momentum(0.1, momentum=1.0), θ_was), Momentum(0.1, 1.0)
    for k, variable in enumerate(θ_was, 1):
        slot = before.get_slot(variable, "m")
        slot.assign(np.full(slot.shape, k))
    if build:
        optimizer.build(θ)
    with recorded() as said:
        optimizer.load_own_variables(saved(before))
        optimizer.apply([np.zeros(v.shape, "float32") for v in θ], θ)
    found = [int(np.max(np.array(optimizer.get_slot(v, "m")))) for v in θ]
    fresh = {k for k, place in enumerate(found) if place == FRESH}
    assert len(said) == bool(fresh)
    assert named_by(said, θ) >= fresh
    return found


def parsed(given: list) -> list[tuple]:
    """Paths alone get contents that no other call of this has."""
    rng, variables = np.random.default_rng([*"".join(map(str, given)).encode()]), []
    for each in given:
        if isinstance(each, str):
            path, _, contents = each.partition("=")
            numbers = [float(number) for number in contents.split(",") if number]
            each = (path, numbers or rng.normal(size=2))
        variables.append(each)
    return variables


either_order = pytest.mark.parametrize(
    "build", [True, False], ids=["built", "not built"]
)


@given(names=NAMES, data=st.data(), build=st.booleans())
def test_contents_decide_whatever_the_names_and_the_order(names, data, build):
    """Saved variables without a counterpart here are ignored."""
    order = data.draw(st.permutations(range(len(names))))
    kept = order[: data.draw(st.integers(1, len(names)))]
    new_names = data.draw(st.permutations(names))
    was = [(name, [k + 1.0, -1.0]) for k, name in enumerate(names)]
    here = [(new_names[k], [k + 1.0, -1.0]) for k in kept]
    assert matched(was, here, build) == [k + 1 for k in kept]


@given(names=NAMES, data=st.data(), build=st.booleans())
def test_exact_paths_decide_in_any_order_among_more(names, data, build):
    """Of other contents, and of other numbers of them, which no position fits."""
    here = data.draw(st.permutations(names))
    more = [f"layer_{name}/kernel" for name in names]
    expected = [names.index(name) + 1 for name in here]
    assert matched([*names, *more], list(here), build) == expected


# The saved variables, those here, and the expected places from 1: `path=contents`.
TABLE: dict[str, tuple[str, str, list[int]]] = {
    "generated numbers and model names are ignored by position": (
        "sequential/dense/kernel sequential/dense_1/kernel",
        "dense_5/kernel dense_6/kernel",
        [1, 2],
    ),
    "layers numbered past ten keep their order": (
        " ".join(f"dense_{k}/kernel" for k in range(2, 14)),
        " ".join(f"dense_{k}/kernel" for k in range(14, 26)),
        [*range(1, 13)],
    ),
    "positions need the same number": ("dense/x dense_1/x", "dense_5/x", [FRESH]),
    "positions need the same names": ("first/x", "second/x", [FRESH]),
    "paths need all of them": ("a b", "b a c", [FRESH] * 3),
    "a path that was saved twice decides nothing": ("a a b", "b a", [FRESH] * 2),
    "a path that is here twice decides nothing": ("a b c", "b a a", [FRESH] * 3),
    "equal paths are matched by position": ("a a b", "a a b", [1, 2, 3]),
    "paths and positions that disagree decide nothing": (
        "table_1=0 table_2=0",
        "table_2=0 table_1=0",
        [FRESH, FRESH],
    ),
    "contents decide before paths": ("t_1=0 t_2=5", "t_2=0 t_1=5", [1, 2]),
    "equal contents are told apart by path": (
        "a/bias=0 b/bias=0 b/kernel=1",
        "b/kernel=1 a/bias=0 b/bias=0",
        [3, 1, 2],
    ),
    "equal contents are told apart by position": (
        "dense/bias=0 dense_1/bias=0",
        "dense_3/bias=0 dense_4/bias=0",
        [1, 2],
    ),
    "two with the contents of one are told apart by path": (
        "a=1 b=2",
        "a=1 b=1",
        [1, 2],
    ),
    "what contents have found is nobody else's": ("a=1 b=2", "a=2 b=3", [2, FRESH]),
    "another shape starts fresh": ("a=1 b=2", "a=1,1 b=2", [FRESH, 2]),
}


@either_order
@pytest.mark.parametrize("case", TABLE)
def test_rules(case: str, build: bool):
    was, here, expected = TABLE[case]
    assert matched(was.split(), here.split(), build) == expected


@either_order
def test_contents_are_all_values_and_not_a_sample(build: bool):
    """Two tables of zeros, of which one row was trained."""
    tables = []
    for row in (500, 501):
        tables.append(np.zeros((1000, 4)))
        tables[-1][row] = 1.0
    was = [("table_1", tables[0]), ("table_2", tables[1])]
    here = [("table_2", tables[0]), ("table_1", tables[1])]
    assert matched(was, here, build) == [1, 2]


@pytest.mark.long
@pytest.mark.once
def test_hundreds_of_variables_without_a_counterpart_are_named_in_time():
    was = [f"a{k}/x={k}" for k in range(400)]
    here = [f"b{k}/x={k}.5" for k in range(400)]
    with within(seconds=30):
        assert set(matched(was, here, build=True)) == {FRESH}
