"""The chapter's data, split into rows to train on and to test on, and its network."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

TABLE = Path(__file__).parents[1] / "data" / "boston_housing.csv"


class Split(NamedTuple):
    """Features of shape (rows, 13) and targets of shape (rows,), in 1000 $."""

    x_train: Any
    y_train: Any
    x_test: Any
    y_test: Any


@cache
def shipped() -> Split:
    """Return the table that ships in `benchmarks/data`, split as Keras does."""
    table = pd.read_csv(TABLE, dtype="float64").to_numpy()
    np.random.RandomState(113).shuffle(table)
    train, test = np.split(table, [int(0.8 * len(table))])
    return Split(train[:, :-1], train[:, -1], test[:, :-1], test[:, -1])


def mlp(dtype: str = "float32") -> Any:
    """Return the chapter's network: 13 inputs as they are, 4 ReLU units, 1 output."""
    import keras

    hidden = keras.layers.Dense(4, activation="relu", dtype=dtype)
    last = keras.layers.Dense(1, dtype=dtype)
    return keras.Sequential([keras.Input((13,), dtype=dtype), hidden, last])
