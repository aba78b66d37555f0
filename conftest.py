"""Whose docstrings run: a backend's module imports what only its users need have."""

from pathlib import Path

import keras

BACKENDS = {
    "tensorflow": {"tensorflow.py", "tensorflow_kernels.py", "tensorflow_programs.py"},
    "jax": {"jax.py"},
    "torch": {"torch.py", "torch_lists"},
}
FOLDER = Path("keras_textbook_opt", "backends")
# What a check runs in a process of its own, on TensorFlow.
collect_ignore = ["keras_textbook_opt/testing/programs/replicas.py"]
collect_ignore += [
    str(FOLDER / name)
    for backend, names in BACKENDS.items()
    if backend != keras.backend.backend()
    for name in names
]
if keras.backend.backend() == "numpy":  # on which Keras fits no model
    collect_ignore += ["keras_textbook_opt/callbacks.py"]
