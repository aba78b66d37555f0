"""The parts of the benchmark: each optimizer, on which all checks are run."""

from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import keras
import pandas as pd

import keras_textbook_opt as ours
from benchmarks.conformance import results
from benchmarks.suite import QUICK, Parts
from keras_textbook_opt.testing import CHECKS, check_optimizer

# Keras's classes that step with another one's equation, or with none.
WITHOUT = ("Optimizer", "OptimizerMap", "MultiOptimizer", "LossScaleOptimizer")
# Packages for Keras 3 that are checked if they are installed.
PACKAGES = {"zengrad-tensorflow": ("zengrad_tensorflow", "ZenGrad")}
CONTENDERS: dict[str, Any] = {
    "this package: SGD": ours.SGD,
    "this package: Momentum": ours.Momentum,
    "this package: Momentum, nesterov": partial(ours.Momentum, nesterov=True),
    "this package: Momentum, lazy": partial(ours.Momentum, sparse_update="lazy"),
    "this package: Adam": ours.Adam,
    "this package: Adam, amsgrad": partial(ours.Adam, amsgrad=True),
    "this package: Adam, lazy": partial(ours.Adam, sparse_update="lazy"),
    **{
        f"keras.optimizers: {name}": kind
        for name, kind in vars(keras.optimizers).items()
        if isinstance(kind, type) and name not in WITHOUT
    },
    **{
        f"from a package: {package}": getattr(import_module(module), name)
        for package, (module, name) in PACKAGES.items()
        if find_spec(module)
    },
}
store = results.store
GROUPS = {check.__name__: check.__module__.rpartition(".")[2] for check in CHECKS}


def parts(plan: str) -> Parts:
    """Return a part for each optimizer; the quick plan runs few checks."""
    quick = [name for name in GROUPS if GROUPS[name] == "contract"]
    select = quick if plan == QUICK else None
    return {name: partial(check, make, select) for name, make in CONTENDERS.items()}


def check(make: Any, select: list[str] | None = None) -> pd.DataFrame:
    """Return the results of all checks of an optimizer, or of the selected ones."""
    found = check_optimizer(make, on_fail=None, on_skip=None, select=select)
    names = [line["check_name"] for line in found]
    return pd.DataFrame(
        {
            "group": [GROUPS[name] for name in names],
            "check": names,
            "status": [line["status"] for line in found],
            "said": [line["exception"] for line in found],
        }
    )
