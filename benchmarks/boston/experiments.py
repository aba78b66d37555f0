"""The chapter's experiments and the figures it prints, and pairs to compare exactly."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.figures import OURS

# The cases of the rows.
SAME_PATH, SMALLEST, CURVE = "same path", "smallest test loss", "test loss"
# Of the relative difference between two runs that take the same path.
LIMIT = 1e-12

SETTINGS = ("clipnorm", "momentum", "beta_1", "beta_2", "epsilon")


@dataclass(frozen=True)
class Experiment:
    """A training by ours and by the built-in, with the same settings."""

    name: str
    title: str
    optimizer: str  # the name of our class
    learning_rate: float
    settings: dict[str, float]
    batch_size: int | None  # None for all rows
    epochs: int
    chapter: float  # the smallest test loss that the chapter prints, or NaN

    def kind(self, subject: str) -> Any:
        """Return the class of ours or of the built-in."""
        import keras

        import keras_textbook_opt

        if subject == OURS:
            return getattr(keras_textbook_opt, self.optimizer)
        return getattr(keras.optimizers, self.optimizer.replace("Momentum", "SGD"))


def read(file: str) -> list[Experiment]:
    """Return the experiments of a table beside this file, one a line."""
    lines = pd.read_csv(Path(__file__).with_name(file)).to_dict("records")
    found = []
    for line in lines:
        given = {str(name): it for name, it in line.items() if not pd.isna(it)}
        settings = {name: given.pop(name) for name in SETTINGS if name in given}
        size = int(given.pop("batch_size")) if "batch_size" in given else None
        known = {"settings": settings, "batch_size": size, "chapter": float("nan")}
        found.append(Experiment(**known | given))
    return found


EXPERIMENTS = read("experiments.csv")
# Seven learning rates, and the other experiments.
SWEEP, OTHERS = EXPERIMENTS[:7], EXPERIMENTS[7:]
