"""The checker has teeth: each fault is caught by the check that is meant for it."""

import pytest

from keras_textbook_opt.testing import check_optimizer
from tests.testing import faults

# Some are wrong on rows, in a graph or on XLA alone.
pytestmark = [pytest.mark.needs("tensorflow"), pytest.mark.long]

PLANTED = [fault for group in faults.FAULTS.values() for fault in group]
of_every_fault = pytest.mark.parametrize(
    "fault", PLANTED, ids=lambda fault: fault.__name__
)


def statuses(factory, **arguments):
    results = check_optimizer(factory, on_fail=None, on_skip=None, **arguments)
    return {each["check_name"]: each["status"] for each in results}


@of_every_fault
def test_a_fault_is_caught_by_its_check(fault):
    for name in fault.caught_by:
        assert statuses(fault, select=name)[name] == "failed"


@of_every_fault
def test_its_check_passes_without_the_fault(fault):
    right = faults.Lazy if issubclass(fault, faults.Lazy) else faults.Right
    for name in fault.caught_by:
        assert statuses(right, select=name)[name] == "passed"


def test_there_are_faults_enough():
    assert len(PLANTED) >= 40
