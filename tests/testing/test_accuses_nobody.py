"""What is right passes: ours, and optimizers of many kinds.

A plain subclass of Keras's `Optimizer` has the faults of its base, and no other.
"""

import functools
from typing import Any

import keras
import pytest

from keras_textbook_opt import SGD, Adam, Momentum
from keras_textbook_opt.testing import check_optimizer, parametrize_with_checks
from keras_textbook_opt.testing.checks import compiled, contract
from tests.backends import HAS
from tests.testing import right

LONG = pytest.mark.long
OURS: list[Any] = [SGD, Momentum, Adam]
if "rows" in HAS:
    OURS += [
        functools.partial(Momentum, nesterov=True),
        functools.partial(Momentum, sparse_update="lazy"),
        functools.partial(Adam, amsgrad=True),
        functools.partial(Adam, sparse_update="lazy"),
    ]


@pytest.mark.needs("rows")
@parametrize_with_checks([Adam])
def test_adam_keeps_every_promise(factory, check):
    check(factory)


@LONG
@pytest.mark.needs("fit")
@parametrize_with_checks(OURS)
def test_ours_keep_every_promise(factory, check):
    check(factory)


@LONG
@pytest.mark.needs("rows")
@parametrize_with_checks(right.OF_THIS_PACKAGE)
def test_other_equations_on_our_base_keep_every_promise(factory, check):
    check(factory)


def failed(factory):
    results = check_optimizer(factory, on_fail=None, on_skip=None)
    return {each["check_name"] for each in results if each["status"] == "failed"}


@functools.cache
def faults_of_keras():
    """What Keras's own gradient descent and its momentum fail."""
    momentum = functools.partial(keras.optimizers.SGD, momentum=0.9)
    return failed(keras.optimizers.SGD) | failed(momentum)


@LONG
@pytest.mark.needs("rows")
@pytest.mark.parametrize("factory", right.OF_KERAS, ids=lambda kind: kind.__name__)
def test_what_stands_on_the_base_of_keras_has_its_faults_and_no_other(factory):
    assert failed(factory) <= faults_of_keras()


@pytest.mark.needs("pairs")
@pytest.mark.parametrize("factory", right.OF_KERAS, ids=lambda kind: kind.__name__)
def test_it_is_no_fault_to_take_tensors_alone(factory):
    """On PyTorch an array of NumPy times a scalar tensor is an error."""
    contract.check_gradients_are_left_as_they_are(factory)


@pytest.mark.needs("rows")
def test_rows_have_the_shape_of_their_table_in_a_graph():
    compiled.check_compiled_rows_are_eager_rows(right.AsksForTheShape)
