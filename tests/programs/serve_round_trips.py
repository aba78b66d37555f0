"""What a process does with the files that does not know the package.

It serves the SavedModels: their outputs go to `served.npz`. And it tries to load what
needs the package: `unknown.json` holds the class that came back, or the error.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.programs.round_trip_recipes import OPTIMIZERS, RECIPES, UNKNOWN


def serve_exported(folder: Path, ids: np.ndarray) -> np.ndarray:
    model = tf.saved_model.load(folder / "exported")
    return model.serve(ids).numpy()


def serve_saved(folder: Path, ids: np.ndarray) -> np.ndarray:
    model = tf.saved_model.load(folder / "saved")
    signature = model.signatures["serving_default"]
    [(argument, _)] = signature.structured_input_signature[1].items()
    [outputs] = signature(**{argument: tf.constant(ids)}).values()
    return outputs.numpy()


def load_unknown(way: str, folder: Path) -> Any:
    config = json.loads((folder / "optimizer.json").read_text())
    if way == "keras":
        return keras.models.load_model(folder / "model.keras").optimizer
    if way == "pickle":
        return pickle.loads((folder / "model.pickle").read_bytes()).optimizer
    if way == "deserialize":
        return keras.optimizers.deserialize(config)
    return keras.optimizers.get(config if way == "get" else config["registered_name"])


def what_comes_back(way: str, folder: Path) -> str:
    try:
        loaded = load_unknown(way, folder)
    except (TypeError, ValueError) as error:
        return type(error).__name__
    return f"{type(loaded).__module__}.{type(loaded).__qualname__}"


def main(folder: Path) -> None:
    ids = np.load(folder / "truth.npz")["ids"]
    served: dict[str, Any] = {}
    for recipe in RECIPES:
        place = folder / recipe.label
        served[f"{recipe.label}/exported"] = serve_exported(place, ids)
        served[f"{recipe.label}/saved"] = serve_saved(place, ids)
    np.savez(folder / "served.npz", **served)
    unknown = {
        f"{name}/{way}": what_comes_back(way, folder / name)
        for name in OPTIMIZERS
        for way in UNKNOWN
    }
    assert "keras_textbook_opt" not in sys.modules
    (folder / "unknown.json").write_text(json.dumps(unknown))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
