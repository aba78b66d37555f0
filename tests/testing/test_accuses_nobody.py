"""Right optimizers pass: this package's, and optimizers of many kinds.

A subclass of Keras's `Optimizer` inherits the faults of that class.
"""

import functools
from typing import Any

import keras
import pytest

from keras_textbook_opt import SGD, Adam, Momentum
from keras_textbook_opt.testing import check_optimizer, parametrize_with_checks
from keras_textbook_opt.testing.checks import compiled, config
from tests.backends import BACKEND, HAS
from tests.testing import faults, right

LONG = pytest.mark.long
OURS: list[Any] = [SGD, Momentum, Adam]
if "rows" in HAS:
    OURS += [
        functools.partial(Momentum, nesterov=True),
        functools.partial(Momentum, sparse_update="lazy"),
        functools.partial(Adam, amsgrad=True),
        functools.partial(Adam, sparse_update="lazy"),
        faults.Ours,
    ]
BASELINES = [right.Bare, functools.partial(keras.optimizers.SGD, momentum=0.9)]
CALIBRATION = ["check_learning_rate_moves_variables", "check_fifty_steps_reduce_loss"]


@pytest.mark.needs("rows")
@parametrize_with_checks([Adam], select="quick")
def test_adam_passes_the_quick_checks(factory, check):
    check(factory)


@LONG
@pytest.mark.needs("fit")
@parametrize_with_checks(OURS)
def test_ours_pass(factory, check):
    check(factory)


def not_passed(factory, status, **arguments):
    results = check_optimizer(factory, on_fail=None, on_skip=None, **arguments)
    return {
        each["check_name"]: str(each["exception"])
        for each in results
        if each["status"] == status
    }


@pytest.mark.parametrize(
    "factory",
    [pytest.param(kind, marks=[LONG] * (BACKEND != "torch")) for kind in right.KINDS],
    ids=lambda kind: kind.__name__,
)
@pytest.mark.needs("pairs")
def test_optimizers_on_the_base_of_keras_have_only_its_faults(factory):
    # On PyTorch, Keras multiplies matrices of float64 in float32. It checks no shapes:
    # without a graph, a product of matrices fails after steps on other variables.
    unfit = ["check_float64"]
    unfit += ["check_gradient_shape_mismatch"] if BACKEND in ("torch", "numpy") else []
    deselect = unfit if factory is right.Whitening else None
    found = not_passed(factory, "failed", baseline=BASELINES, deselect=deselect)
    assert not found
    # It is found how to move the variables, however late the optimizer starts.
    assert not not_passed(factory, "skipped", select=CALIBRATION)


@LONG
@pytest.mark.parametrize("name", ["RMSprop", "Adagrad", "Adamax", "Lion"])
@pytest.mark.needs("pairs")
def test_optimizers_of_keras_keep_its_contract(name):
    groups = ["group:contract", "group:clips", "group:features"]
    factory = getattr(keras.optimizers, name)
    assert not not_passed(factory, "failed", select=groups)


@pytest.mark.needs("rows")
def test_sparse_gradients_have_a_static_shape_in_a_graph():
    compiled.check_compiled_sparse_gradients(right.AsksForTheShape)


def test_unset_arguments_may_be_missing_from_a_config():
    config.check_config_has_every_argument(right.LeavesUnsetArgumentsOut)
