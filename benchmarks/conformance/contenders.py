"""Who is checked: by a house and a name for the table."""

from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import keras

import keras_textbook_opt as ours
from benchmarks.conformance import papers

# Keras's classes that step with another one's equation, or with none.
WITHOUT = ("Optimizer", "OptimizerMap", "MultiOptimizer", "LossScaleOptimizer")
# Packages for Keras 3 that are checked where they are installed.
PACKAGES = {"zengrad-tensorflow": ("zengrad_tensorflow", "ZenGrad")}


def scaled_adam(learning_rate=1e-3, **arguments):
    """Adam in Keras's wrapper for losses in 16 bits, at its smallest scale."""
    inner = keras.optimizers.Adam(learning_rate, **arguments)
    return keras.optimizers.LossScaleOptimizer(inner, initial_scale=1.0)


CONTENDERS: dict[str, dict[str, Any]] = {
    "this package": {
        "SGD": ours.SGD,
        "Momentum": ours.Momentum,
        "Momentum, nesterov": partial(ours.Momentum, nesterov=True),
        "Momentum, lazy": partial(ours.Momentum, sparse_update="lazy"),
        "Adam": ours.Adam,
        "Adam, amsgrad": partial(ours.Adam, amsgrad=True),
        "Adam, lazy": partial(ours.Adam, sparse_update="lazy"),
    },
    "keras.optimizers": {
        **{
            name: kind
            for name, kind in vars(keras.optimizers).items()
            if isinstance(kind, type) and name not in WITHOUT
        },
        "SGD, momentum": partial(keras.optimizers.SGD, momentum=0.9),
        "LossScaleOptimizer": scaled_adam,
    },
    "written from a paper": {kind.__name__: kind for kind in papers.ALL},
    "from a package": {
        package: getattr(import_module(module), name)
        for package, (module, name) in PACKAGES.items()
        if find_spec(module)
    },
}
