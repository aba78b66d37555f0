"""Train a case on two replicas with Keras's order of a step planted: clip, then sum."""

import sys
from pathlib import Path
from typing import Any

from keras_textbook_opt import TextbookOptimizer, backends
from tests.programs import train_replicas
from tests.programs.replica_cases import loop

clipped = TextbookOptimizer._clip_gradients
backend: Any = type(backends.active)
summed = backend.summed


def clipped_and_summed(self, optimizer, gradients):
    return summed(self, optimizer, clipped(optimizer, gradients))


if __name__ == "__main__":
    backend.summed = clipped_and_summed
    optimizer: Any = TextbookOptimizer
    optimizer._clip_gradients = lambda self, grads: grads
    train_replicas.main(Path(sys.argv[1]), [loop("SGD", clipnorm=0.2)])
