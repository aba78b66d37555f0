"""The checker has teeth: each fault is caught by the check that is meant for it."""

import re

import pytest

from keras_textbook_opt.testing import CHECKS, CheckFailed, check_optimizer, registry
from tests.testing import faults, messages

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
def test_a_fault_is_caught_by_its_check_which_says_how_to_see_it_again(fault):
    for name in fault.caught_by:
        [check] = [check for check in CHECKS if check.__name__ == name]
        with pytest.raises(CheckFailed) as failure:
            check(fault)
        assert messages.has_its_size(failure.value)
        with pytest.raises(CheckFailed) as again:
            messages.run_again(failure.value)
        assert without_numbers(again.value) == without_numbers(failure.value)


def without_numbers(failure):
    """Layers are counted, and a process has another number each time."""
    return re.sub(r"[\d.e+-]+|nan|inf", "#", str(failure))


@of_every_fault
def test_a_fault_is_caught_by_no_other_check_of_its_file(fault):
    meant = [check for check in CHECKS if check.__name__ in fault.caught_by]
    found = statuses(fault, select=sorted(set(map(registry.group, meant))))
    failed = {name for name, status in found.items() if status == "failed"}
    assert failed == {*fault.caught_by, *fault.also}


@of_every_fault
def test_its_check_passes_without_the_fault(fault):
    right = faults.Lazy if issubclass(fault, faults.Lazy) else faults.Right
    for name in fault.caught_by:
        assert statuses(right, select=name)[name] == "passed"


def test_there_are_faults_enough():
    assert len(PLANTED) >= 40
