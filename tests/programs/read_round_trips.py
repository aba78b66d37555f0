"""Read all that was saved, in a process that only imports the package, and train on.

`read.npz` holds the weights after each step, `read.json` what came back: the class and
the name of the optimizer, or the error.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import pickle
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.programs.round_trip_recipes import (
    AFRESH,
    OPTIMIZERS,
    RECIPES,
    RESUMED,
    Recipe,
)
from tests.programs.training import compiled_model, make_model, train


def from_keras(recipe: Recipe, folder: Path) -> keras.Model:
    return keras.models.load_model(folder / "model.keras")


def from_weights(recipe: Recipe, folder: Path) -> keras.Model:
    model = compiled_model(recipe)
    model.load_weights(folder / "model.weights.h5")
    return model


def from_checkpoint(recipe: Recipe, folder: Path) -> keras.Model:
    model = compiled_model(recipe)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    status = checkpoint.read(str(folder / "checkpoint"))
    status.assert_existing_objects_matched()
    return model


def from_backup(recipe: Recipe, folder: Path) -> keras.Model:
    return compiled_model(recipe)


def from_pickle(recipe: Recipe, folder: Path) -> keras.Model:
    return pickle.loads((folder / "model.pickle").read_bytes())


def from_deserialize(recipe: Recipe, folder: Path) -> keras.Model:
    config = json.loads((folder / "optimizer.json").read_text())
    return afresh(keras.optimizers.deserialize(config), recipe.run_eagerly, folder)


def from_get(recipe: Recipe, folder: Path) -> keras.Model:
    config = json.loads((folder / "optimizer.json").read_text())
    return afresh(keras.optimizers.get(config), recipe.run_eagerly, folder)


def from_name(name: str, folder: Path) -> keras.Model:
    return afresh(keras.optimizers.get(f"keras_textbook_opt>{name}"), True, folder)


def from_clone(recipe: Recipe, folder: Path) -> keras.Model:
    loaded = keras.models.load_model(folder / "model.keras")
    clone = keras.models.clone_model(loaded)
    clone.set_weights(initial_weights(folder))
    clone.compile_from_config(loaded.get_compile_config())
    return clone


def afresh(optimizer, run_eagerly: bool, folder: Path) -> keras.Model:
    model = make_model()
    model.set_weights(initial_weights(folder))
    model.compile(optimizer, "mse", run_eagerly=run_eagerly)
    return model


def initial_weights(folder: Path) -> list[np.ndarray]:
    return list(np.load(folder / "initial.npz").values())


def train_on(route: str, model: keras.Model, folder: Path) -> np.ndarray:
    if route == "backup":
        restore = keras.callbacks.BackupAndRestore(folder / "backup")
        return train(model, 0, 2, restore)
    return train(model, 1, 2) if route in RESUMED else train(model, 0, 1)


LOADERS = {
    "keras": from_keras,
    "weights": from_weights,
    "checkpoint": from_checkpoint,
    "backup": from_backup,
    "pickle": from_pickle,
    "deserialize": from_deserialize,
    "get": from_get,
    "clone": from_clone,
}


class Reader:
    """Reads one case after the other and keeps what came of each."""

    def __init__(self) -> None:
        self.steps: dict[str, Any] = {}
        self.reports: dict[str, dict[str, str]] = {}

    @contextlib.contextmanager
    def case(self, name: str) -> Iterator[None]:
        """An error ends the case and no other."""
        try:
            yield
        except Exception:
            self.reports[name] = {"error": traceback.format_exc()}

    def keep(self, case: str, steps: np.ndarray, optimizer: Any) -> None:
        kind = type(optimizer)
        self.steps[case] = steps
        self.reports[case] = {
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "name": optimizer.name,
        }


def main(folder: Path) -> None:
    warnings.simplefilter("error", UserWarning)
    reader = Reader()
    for recipe, route in itertools.product(RECIPES, RESUMED + AFRESH):
        place, case = folder / recipe.label, f"{recipe.label}/{route}"
        with reader.case(case):
            model = LOADERS[route](recipe, place)
            reader.keep(case, train_on(route, model, place), model.optimizer)
    for name in OPTIMIZERS:
        with reader.case(name):
            model = from_name(name, folder / name)
            reader.keep(name, train(model, 0, 1), model.optimizer)
    np.savez(folder / "read.npz", **reader.steps)
    (folder / "read.json").write_text(json.dumps(reader.reports))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
