"""Other backends do not import TensorFlow, and say what `lazy` means without rows."""

import warnings

import pytest

from keras_textbook_opt import Adam, Momentum
from tests.backends import BACKEND
from tests.processes import run

pytestmark = pytest.mark.needs("dense")


def test_a_step_does_not_import_tensorflow():
    run(("tests.programs.step_without_tensorflow", BACKEND))


@pytest.mark.parametrize("cls", [Momentum, Adam])
def test_lazy_warns_that_it_equals_exact(cls):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cls(sparse_update="exact")
        assert not caught
        cls(sparse_update="lazy")
    assert ["exact" in str(each.message) for each in caught] == [True]
