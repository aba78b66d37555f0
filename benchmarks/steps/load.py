"""Loading a compiled model with the state of its optimizer."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras

from benchmarks import timing
from benchmarks.steps import cases
from benchmarks.steps.cases import BUILTIN, OURS
from benchmarks.steps.pairs import Pair, compare
from benchmarks.steps.plans import Plan

UNITS = 2000
TRIES = timing.Repeats(at_least=3, at_most=3, seconds=0, warm_up=1, twice=False)


def measure(plan: Plan, backend: Any) -> Iterator[Pair]:
    with tempfile.TemporaryDirectory() as folder:
        load = {}
        for subject, make in ((OURS, cases.ours), (BUILTIN, cases.builtin)):
            file = Path(folder) / f"{subject}.keras"
            _model(plan.layers_loaded, make("Adam")).save(file)
            load[subject] = partial(keras.saving.load_model, file)
        size = f"{file.stat().st_size / 1e6:.0f} MB"
        names = {"backend": keras.backend.backend(), "size": size, "case": "Adam"}
        samples = timing.interleaved(load, TRIES)
        yield compare(samples, OURS, BUILTIN, what="load", **names)


def _model(layers: int, optimizer: Any) -> Any:
    """Return a compiled model of so many dense layers, its optimizer built."""
    dense = [keras.layers.Dense(UNITS, use_bias=False) for _ in range(layers)]
    found = keras.Sequential([keras.Input((UNITS,)), *dense])
    found.compile(optimizer=optimizer, loss="mse")
    optimizer.build(found.trainable_variables)
    return found
