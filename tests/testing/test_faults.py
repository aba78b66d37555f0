"""The checker finds faults: each is caught by the check that is meant for it."""

import pytest

from keras_textbook_opt.testing import CHECKS, CheckFailed
from tests.backends import BACKEND
from tests.testing import faults, messages

# On PyTorch these take seconds; TensorFlow also has the faults of graphs and of rows.
pytestmark = [pytest.mark.needs("pairs")]
if BACKEND != "torch":
    pytestmark.append(pytest.mark.long)
NAMED = {check.__name__: check for check in CHECKS}
PLANTED = [fault for fault in faults.FAULTS if fault.only in ("", BACKEND)]


def case(kind, name):
    return pytest.param(kind, name, id=f"{kind.__name__}-{name}")


CASES = [case(fault, name) for fault in PLANTED for name in fault.caught_by]


@pytest.mark.parametrize("fault, name", CASES)
def test_fault_fails_its_check_and_can_be_reproduced(fault, name):
    failure = messages.outcome(NAMED[name], fault)
    assert isinstance(failure, CheckFailed), failure
    assert failure.fix
    again = messages.outcome(messages.run_again, failure)
    assert isinstance(again, CheckFailed), again
    assert again.reasons == failure.reasons


RIGHT = {
    (next(kind for kind in fault.__mro__ if kind in faults.RIGHT), name)
    for fault in PLANTED
    for name in fault.caught_by
}


@pytest.mark.parametrize(
    "right, name", [case(right, name) for right, name in sorted(RIGHT, key=str)]
)
def test_check_passes_without_the_fault(right, name):
    assert messages.outcome(NAMED[name], right) is None


def test_there_are_faults_for_most_checks():
    caught = {name for fault in faults.FAULTS for name in fault.caught_by}
    assert len(faults.FAULTS) >= 60
    assert len(caught) >= 0.75 * len(CHECKS)
