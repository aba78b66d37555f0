"""After a load, each variable has the state of the one whose weights it received.

And the next steps are those of training that never stopped. Over histories of a model
and routes of its state, drawn together.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests import histories
from tests.histories import History

histories_of_models = st.builds(
    History,
    kind=st.sampled_from(histories.KINDS),
    names=st.sampled_from(histories.NAMES),
    event=st.sampled_from(histories.EVENTS),
    frozen=st.sampled_from([0, 1, 2]),
    policy=st.sampled_from(histories.POLICIES),
    optimizer=st.sampled_from(list(histories.OPTIMIZERS)),
    options=st.sampled_from(list(histories.OPTIONS)),
    excluded=st.sampled_from([None, 0, 1, 2]),
    made_in_order=st.booleans(),
)


@pytest.mark.parametrize("route", histories.ROUTES)
@given(history=histories_of_models)
def test_training_goes_on(route: str, history: History):
    assume(histories.can_take(history, route))
    model = histories.lived(history)
    with tempfile.TemporaryDirectory() as folder:
        other = histories.ROUTES[route](model, history, Path(folder))
    histories.assert_goes_on(model, other)
