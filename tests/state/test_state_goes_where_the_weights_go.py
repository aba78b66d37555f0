"""After a load, each variable has the state of the one whose weights it received.

And the next steps are those of training that never stopped. Over histories of a model
and routes of its state, drawn together.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests import histories
from tests.backends import few
from tests.histories import History

pytestmark = pytest.mark.needs("fit")
TENSORFLOW = pytest.mark.needs("tensorflow")

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
DRAWN = st.builds(
    History, **{name: st.sampled_from(of) for name, of in histories.DRAWN.items()}
)


@pytest.mark.parametrize("route", few([*histories.ROUTES], slice(0, None, 2)))
@hypothesis.settings(max_examples=60 if THOROUGH else 1)
@hypothesis.example(history=History(kind="subclass", made_in_order=False, multiplied=2))
@hypothesis.example(
    history=History(event="unfrozen, appended", options="EMA", excluded=1)
)
@hypothesis.example(
    history=History(
        kind="subclass",
        event="frozen, followed",
        policy="bfloat16",
        optimizer="Momentum",
        multiplied=1,
        made_in_order=False,
    )
)
@given(history=DRAWN)
def test_training_goes_on(route: str, history: History):
    assume(histories.can_take(history, route))
    model = histories.lived(history)
    with tempfile.TemporaryDirectory() as folder:
        other = histories.ROUTES[route](model, history, Path(folder))
    histories.assert_goes_on(model, other)


@pytest.mark.needs("pairs")
@pytest.mark.parametrize(
    "route", [".h5", pytest.param("tf.train.Checkpoint", marks=TENSORFLOW)]
)
def test_what_is_by_position_alone_is_refused_where_it_is_not_known(route, tmp_path):
    """A layer was frozen after it was trained, and the optimizer was not told."""
    history = History(event="frozen", frozen=1)
    model = histories.lived(history)
    with pytest.raises(ValueError, match=r"[Ee]xpected.*\n?.*(values|checkpoint)"):
        other = histories.ROUTES[route](model, history, tmp_path)
        other.optimizer.build(other.trainable_variables)
