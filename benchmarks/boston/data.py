"""The table, and its split into rows to train on and rows to test on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

TABLE = Path(__file__).parents[1] / "data" / "boston_housing.csv"
TARGET = "MEDV"
SPLIT_SEED = 113
TEST_SHARE = 0.2

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Split:
    """Features of shape (rows, 13) and targets of shape (rows,), in 1000 $."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array


def shipped() -> Split:
    """Return the table that ships in `benchmarks/data`, split as Keras does."""
    table = pd.read_csv(TABLE, dtype="float64")
    features = table.drop(columns=TARGET).to_numpy()
    return _split(features, table[TARGET].to_numpy())


def _split(features: Array, targets: Array) -> Split:
    order = np.arange(len(features))
    np.random.RandomState(SPLIT_SEED).shuffle(order)
    train, test = np.split(order, [int(len(order) * (1 - TEST_SHARE))])
    return Split(features[train], targets[train], features[test], targets[test])
