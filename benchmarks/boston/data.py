"""The table, and its split into rows to train on and rows to test on."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.training import Array

TABLE = Path(__file__).parents[1] / "data" / "boston_housing.csv"


class Split(NamedTuple):
    """Features of shape (rows, 13) and targets of shape (rows,), in 1000 $."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array


@cache
def shipped() -> Split:
    """Return the table that ships in `benchmarks/data`, split as Keras does."""
    table = pd.read_csv(TABLE, dtype="float64").to_numpy()
    np.random.RandomState(113).shuffle(table)
    train, test = np.split(table, [int(0.8 * len(table))])
    return Split(train[:, :-1], train[:, -1], test[:, :-1], test[:, -1])
