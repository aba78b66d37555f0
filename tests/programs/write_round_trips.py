"""Train with each recipe without a stop; on the way, save all there is to be read.

What `truth.npz` holds of a recipe: its weights after each step, and the outputs of
the trained model. `tells.json` says for each argument whether the weights of the first
steps are others without it.
"""

from __future__ import annotations

import inspect
import json
import pickle
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_textbook_opt
from tests.programs.round_trip_recipes import OPTIMIZERS, RECIPES, Recipe
from tests.programs.training import (
    BATCH,
    IDS,
    STEPS,
    TARGETS,
    compiled_model,
    flat,
    make_model,
    make_optimizer,
    train,
)


class SaveAll(keras.callbacks.Callback):
    """At the end of the first epoch, save the model in each way that keeps its state.

    The backup is copied as it lies there: what a process leaves that is stopped now.
    """

    def __init__(self, folder: Path, backup: Path):
        super().__init__()
        self._folder, self._backup = folder, backup

    def on_epoch_end(self, epoch, logs=None) -> None:
        if epoch > 0:
            return
        model, folder = self.model, self._folder
        model.save(folder / "model.keras")
        model.save_weights(folder / "model.weights.h5")
        checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        checkpoint.write(str(folder / "checkpoint"))
        (folder / "model.pickle").write_bytes(pickle.dumps(model))
        write_config(model.optimizer, folder)
        shutil.copytree(self._backup, folder / "backup")


def write(recipe: Recipe, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    model = compiled_model(recipe)
    np.savez(folder / "initial.npz", *model.get_weights())
    backup = folder / "running"
    callbacks = [keras.callbacks.BackupAndRestore(backup), SaveAll(folder, backup)]
    steps = train(model, 0, 2, *callbacks)
    model.export(folder / "exported", verbose=False)
    tf.saved_model.save(model, folder / "saved")
    outputs = tf.function(model)(IDS).numpy()
    return {f"{recipe.label}/steps": steps, f"{recipe.label}/outputs": outputs}


def write_defaults(name: str, folder: Path) -> dict[str, Any]:
    """The same for an optimizer without arguments."""
    folder.mkdir()
    model = make_model()
    np.savez(folder / "initial.npz", *model.get_weights())
    optimizer = getattr(keras_textbook_opt, name)()
    model.compile(optimizer, "mse", run_eagerly=True)
    steps = train(model, 0, 1)
    model.save(folder / "model.keras")
    (folder / "model.pickle").write_bytes(pickle.dumps(model))
    write_config(optimizer, folder)
    return {f"{name}/steps": steps}


def write_config(optimizer: keras.optimizers.Optimizer, folder: Path) -> None:
    config = keras.optimizers.serialize(optimizer)
    (folder / "optimizer.json").write_text(json.dumps(config))


def first_steps(recipe: Recipe, model: keras.Model, without: str = ""):
    """The weights of `model` after each of the first steps, and at the end."""
    optimizer = make_optimizer(recipe, model, without)
    model.compile(optimizer, "mse", run_eagerly=True)
    weights = []
    for k in range(STEPS):
        batch = slice(k * BATCH, (k + 1) * BATCH)
        model.train_on_batch(IDS[batch], TARGETS[batch])
        weights.append(flat(model.get_weights()))
    optimizer.finalize_variable_values(model.trainable_variables)
    return np.stack([*weights, flat(model.get_weights())])


def which_tell(recipe: Recipe) -> dict[str, bool]:
    model = make_model()
    initial = model.get_weights()
    expected = first_steps(recipe, model)
    tells = {}
    for argument in recipe.what_tells:
        model.set_weights(initial)
        steps = first_steps(recipe, model, without=argument)
        tells[argument] = not np.array_equal(expected, steps)
    return tells


def arguments_of(name: str) -> list[str]:
    parameters = inspect.signature(getattr(keras_textbook_opt, name)).parameters
    named = [p for p in parameters.values() if p.kind is not p.VAR_KEYWORD]
    return [p.name for p in named]


def main(folder: Path) -> None:
    warnings.simplefilter("error", UserWarning)
    keras.utils.set_random_seed(5)
    truth: dict[str, Any] = {}
    for recipe in RECIPES:
        truth |= write(recipe, folder / recipe.label)
    for name in OPTIMIZERS:
        truth |= write_defaults(name, folder / name)
    np.savez(folder / "truth.npz", ids=IDS, **truth)
    tells = {recipe.label: which_tell(recipe) for recipe in RECIPES}
    (folder / "tells.json").write_text(json.dumps(tells))
    arguments = {name: arguments_of(name) for name in OPTIMIZERS}
    (folder / "arguments.json").write_text(json.dumps(arguments))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
