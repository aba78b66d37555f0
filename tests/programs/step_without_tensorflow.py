"""Steps on the backend of the first argument, which do not want TensorFlow."""

import os
import sys

os.environ["KERAS_BACKEND"] = sys.argv[1]

import keras
import numpy as np

from tests.recipes import EXACT

if __name__ == "__main__":
    assert keras.backend.backend() == sys.argv[1]
    for recipe in EXACT:
        recipe.make().apply([np.ones(3)], [keras.Variable(np.ones(3))])
    assert "tensorflow" not in sys.modules
