"""Load a model in a fresh process, and train on: `python -m … FOLDER`."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import keras

from keras_textbook_opt.testing import backend, children, problem
from keras_textbook_opt.testing.linear import LAYERS


def main(folder: Path) -> None:
    """Read `kind.pickle` and `model.keras`; write the weights of three more steps."""
    kind = pickle.loads((folder / "kind.pickle").read_bytes())
    model = keras.models.load_model(
        folder / "model.keras", custom_objects={kind.__name__: kind}
    )
    for gradients in problem.gradients(6, LAYERS)[3:]:
        pairs = list(zip(gradients, model.trainable_variables))
        model.optimizer.apply(
            [backend.gradient(g, v) for g, v in pairs], [v for _, v in pairs]
        )
    children.write(folder, "weights.npz", model.get_weights())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
