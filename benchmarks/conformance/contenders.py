"""Who is checked: by a name for the table, in the order of its columns."""

import functools
import importlib
import importlib.util
from typing import Any

import keras

import keras_textbook_opt as ours
from benchmarks.conformance import papers

IN_KERAS = [
    "SGD",
    "RMSprop",
    "Adam",
    "AdamW",
    "Adadelta",
    "Adagrad",
    "Adamax",
    "Adafactor",
    "Nadam",
    "Ftrl",
    "Lion",
    "Lamb",
    "Muon",
    "ScheduleFreeAdamW",
]


def scaled_adam(learning_rate=1e-3, **arguments):
    """Adam in Keras's wrapper for losses in 16 bits, at its smallest scale."""
    inner = keras.optimizers.Adam(learning_rate, **arguments)
    return keras.optimizers.LossScaleOptimizer(inner, initial_scale=1.0)


# Packages for Keras 3 that are checked where they are installed.
PACKAGES = {"zengrad-tensorflow": ("zengrad_tensorflow", "ZenGrad")}


def installed() -> dict[str, Any]:
    """The optimizers of those packages, by the package's name."""
    return {
        package: getattr(importlib.import_module(module), name)
        for package, (module, name) in PACKAGES.items()
        if importlib.util.find_spec(module)
    }


CONTENDERS: dict[str, dict[str, Any]] = {
    "this package": {
        "SGD": ours.SGD,
        "Momentum": ours.Momentum,
        "Momentum, nesterov": functools.partial(ours.Momentum, nesterov=True),
        "Momentum, lazy": functools.partial(ours.Momentum, sparse_update="lazy"),
        "Adam": ours.Adam,
        "Adam, amsgrad": functools.partial(ours.Adam, amsgrad=True),
        "Adam, lazy": functools.partial(ours.Adam, sparse_update="lazy"),
    },
    "keras.optimizers": {
        **{name: getattr(keras.optimizers, name) for name in IN_KERAS},
        "SGD, momentum": functools.partial(keras.optimizers.SGD, momentum=0.9),
        "LossScaleOptimizer": scaled_adam,
    },
    "written from a paper": {
        kind.__name__: kind
        for kind in (
            papers.AdaBelief,
            papers.Yogi,
            papers.RAdam,
            papers.Signum,
            papers.QHM,
        )
    },
    "from a package": installed(),
}
