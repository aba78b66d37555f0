"""Skip the docstrings of modules that import a backend which is not in use."""

from pathlib import Path

import keras

FOLDER = Path("keras_textbook_opt", "backends")
BACKENDS = {"tensorflow", "jax", "torch"} - {keras.backend.backend()}
collect_ignore_glob = [str(FOLDER / f"{backend}*.py") for backend in BACKENDS]
# A check runs this program in a process of its own, on TensorFlow.
collect_ignore = ["keras_textbook_opt/testing/programs/elsewhere.py"]
if keras.backend.backend() == "numpy":  # on which Keras fits no model
    collect_ignore += ["keras_textbook_opt/monitor.py"]
