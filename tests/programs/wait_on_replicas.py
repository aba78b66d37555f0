"""A state that is loaded before training goes on on two replicas, in one process.

`weights.npz` in the folder of the first argument gets the weights after training, for
each way to load, and `errors.json` what went wrong instead.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tests.programs.replica_cases import BATCH, IDS, TARGETS
from tests.programs.train_replicas import Loop, make_model, make_strategy, weights_of
from tests.programs.waiting_cases import CASES, OPTIMIZERS


def compiled(make: Callable[[], Any]) -> keras.Model:
    model = make_model()
    model.compile(make(), "mse", run_eagerly=True)
    return model


def fit(model: keras.Model) -> None:
    ids, targets = np.concatenate(IDS), np.concatenate(TARGETS)
    model.fit(ids, targets, batch_size=BATCH, shuffle=False, verbose=0)


def stored(optimizer: Any) -> dict[str, Any]:
    store: dict[str, Any] = {}
    optimizer.save_own_variables(store)
    return store


def loaded(way: str, make: Callable[[], Any], file: Path, first: keras.Model) -> Any:
    """A model with the state of the `first`, in the way that is asked for."""
    model = compiled(make)
    if way.startswith("built"):
        model.optimizer.build(model.trainable_variables)
    if way.endswith("load_weights"):
        model.load_weights(file)
    else:
        model.set_weights(first.get_weights())
        model.optimizer.load_own_variables(stored(first.optimizer))
    return model


def go_on(model: keras.Model, way: str, loop: Loop) -> None:
    if "fit" in way:
        model.compile(model.optimizer, "mse", run_eagerly=False)
        fit(model)
    else:
        loop.train(model, model.optimizer, builds=False)


def main(folder: Path) -> None:
    strategy = make_strategy()
    loop = Loop(strategy)
    weights: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, make in OPTIMIZERS.items():
        first = compiled(make)
        fit(first)
        file = folder / f"{name}.weights.h5"
        first.save_weights(file)
        for way in [way for of, way in CASES if of == name]:
            try:
                with strategy.scope():
                    model = loaded(way, make, file, first)
                    go_on(model, way, loop)
                weights[f"{name}/{way}"] = weights_of(model)
            except Exception:
                errors[f"{name}/{way}"] = traceback.format_exc()
        fit(first)
        weights[f"{name}/alone"] = weights_of(first)
    np.savez(folder / "weights.npz", **weights)
    (folder / "errors.json").write_text(json.dumps(errors))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
