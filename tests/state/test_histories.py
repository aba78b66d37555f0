"""A loaded state goes to the variables that received the weights, or it is named.

Histories of a model and routes of its state are drawn together. `tests/histories.py`
has the expected outcome.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests import histories
from tests.histories import ROUTES, History

pytestmark = pytest.mark.needs("fit")
THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
DRAWN = st.builds(
    History, **{name: st.sampled_from(of) for name, of in histories.CHOICES.items()}
)
NOT_BUILT = ".weights.h5, not built"
# Every value of every field, and every route, at least once.
CASES = [
    (".keras", History(kind="nested", names="own", options="patterns")),
    (".keras", History("subclass", same_order=False, options="patterns", place=1)),
    (".keras", History("functional", event="refrozen", options="decay of a list")),
    (".h5", History(event="frozen and set", options="patterns", place=1)),
    (".weights.h5, built", History("subclass", same_order=False, options="EMA")),
    (".weights.h5, built", History("early optimizer", "own", same_order=False)),
    (NOT_BUILT, History("early optimizer", event="unfrozen", optimizer="Momentum")),
    (NOT_BUILT, History("nested", event="frozen after the load", options="EMA")),
    (NOT_BUILT, History(event="frozen after the load", optimizer="SGD", use="fit")),
    (NOT_BUILT, History("subclass", event="unfrozen after the load", options="EMA")),
    (NOT_BUILT, History(precision="changed", place=1)),
    (NOT_BUILT, History("functional", precision="float16", use="fit")),
    (".weights.h5, skip_mismatch", History(event="another head", options="patterns")),
    (
        ".weights.h5, not built, skip_mismatch",
        History("subclass", event="another head", options="accumulation"),
    ),
    ("pickle", History(event="frozen", precision="bfloat16", optimizer="Momentum")),
    ("deepcopy", History("subclass", options="decay of a list", same_order=False)),
    ("get_weights", History(precision="mixed_bfloat16", options="EMA")),
    ("tf.train.Checkpoint", History("functional", options="accumulation", place=2)),
]


@pytest.mark.parametrize(
    ("route", "history"), [case for case in CASES if case[0] in ROUTES]
)
def test_training_continues_after(route: str, history: History, tmp_path: Path):
    assert histories.can_travel(history, route)
    histories.assert_outcome(history, [route], tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("route", ROUTES)
@hypothesis.settings(max_examples=60 if THOROUGH else 6)
@given(history=DRAWN)
def test_any_history_continues_after(route: str, history: History):
    assume(histories.can_travel(history, route))
    with tempfile.TemporaryDirectory() as folder:
        histories.assert_outcome(history, [route], Path(folder))


@hypothesis.settings(max_examples=60 if THOROUGH else 4)
@given(
    history=DRAWN,
    routes=st.lists(st.sampled_from([*ROUTES]), min_size=2, max_size=2),
)
def test_any_history_continues_after_two(history: History, routes: list[str]):
    assume(not re.search("after the load|head", history.event))
    assume(all(histories.can_travel(history, route) for route in routes))
    with tempfile.TemporaryDirectory() as folder:
        histories.assert_outcome(history, routes, Path(folder))
