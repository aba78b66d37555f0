"""The chapter's experiments, and the figures it prints for them."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

import keras_textbook_opt

SETTINGS = ("clipnorm", "momentum", "beta_1", "beta_2", "epsilon")
# Ours and the built-in.
OPTIMIZERS = {
    "SGD": (keras_textbook_opt.SGD, keras.optimizers.SGD),
    "Momentum": (keras_textbook_opt.Momentum, keras.optimizers.SGD),
    "Adam": (keras_textbook_opt.Adam, keras.optimizers.Adam),
}


@dataclass(frozen=True)
class Experiment:
    """A training by ours and by the built-in, under the same settings.

    Args:
        settings: What both are made with, beside the learning rate.
        batch_size: None is all rows.
        name: Its part in the rows, if it is the chapter's.
        chapter: The smallest test loss that the chapter prints, in (1000 $)², or NaN.
    """

    title: str
    ours: Callable[..., Any]
    builtin: Callable[..., Any]
    learning_rate: float
    settings: Mapping[str, float]
    batch_size: int | None
    epochs: int
    name: str
    chapter: float


def read(file: str) -> list[Experiment]:
    """Return the experiments of a table beside this file, one a line."""
    with Path(__file__).with_name(file).open(encoding="utf-8") as table:
        return [_experiment(line) for line in csv.DictReader(table)]


def _experiment(line: Mapping[str, str]) -> Experiment:
    ours, builtin = OPTIMIZERS[line["optimizer"]]
    return Experiment(
        title=line["title"],
        ours=ours,
        builtin=builtin,
        learning_rate=float(line["learning_rate"]),
        settings={name: float(line[name]) for name in SETTINGS if line.get(name)},
        batch_size=int(line["batch_size"]) if line["batch_size"] else None,
        epochs=int(line["epochs"]),
        name=line.get("name", ""),
        chapter=float(line.get("chapter", "nan")),
    )


EXPERIMENTS = read("experiments.csv")
# Over the learning rate alone, and all else.
SWEEP, OTHERS = EXPERIMENTS[:7], EXPERIMENTS[7:]
