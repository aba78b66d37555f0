"""Saving and loading a model with the slots of its optimizer."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras

from benchmarks import timing
from benchmarks.rows import Row
from benchmarks.steps.contender import Work, timed
from benchmarks.steps.optimizers import ADAM, OURS, Case
from benchmarks.steps.plans import FILES, Plan
from benchmarks.steps.probe import BUILD

UNITS = 2000
TRIES = timing.Repeats(warm_up=0, at_least=3, at_most=3, seconds=0)


def work(plan: Plan, backend: Any) -> Iterator[Work]:
    yield "a model is saved and loaded", _measure(plan.file_parameters)


def _model(parameters: int, optimizer: Any) -> Any:
    """Return a compiled model of about so many parameters, its optimizer built."""
    units = min(UNITS, int(parameters**0.5))
    layers = max(1, round(parameters / units**2))
    dense = [keras.layers.Dense(units, use_bias=False) for _ in range(layers)]
    found = keras.Sequential([keras.Input((units,)), *dense])
    found.compile(optimizer=optimizer, loss="mse")
    optimizer.build(found.trainable_variables)
    return found


def _measure(parameters: int) -> Iterator[Row]:
    makers = Case(ADAM).makers()
    models = {subject: _model(parameters, make()) for subject, make in makers.items()}
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        paths = {subject: Path(folder) / f"{subject}.keras" for subject in models}
        save = {it: partial(models[it].save, path) for it, path in paths.items()}
        load = {it: partial(keras.saving.load_model, at) for it, at in paths.items()}
        done = {"save": timing.interleaved(save, TRIES)}
        done["load"] = timing.interleaved(load, TRIES)
        size = f"{paths[OURS].stat().st_size / 1e6:.3g} MB"
    for what, samples in done.items():
        names = {"part": FILES, "case": f"Adam: {what}", "size": size}
        yield from timed(samples, backend=keras.backend.backend(), **names)
