"""Measured figures as rows of `results.csv`, each with its spread."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

FILE = "results.csv"
# Every other column is text.
NUMBERS = {"value", "other_value", "ratio", "low", "high"}


@dataclass(frozen=True)
class Row:
    """One figure: the median over seeds, with the smallest and the largest."""

    part: str  # of the benchmark, measured as a whole
    case: str  # the quantity, as "smallest test loss"
    subject: str  # the optimizer
    size: str  # a place along a run, as "epoch 3"
    unit: str
    value: float
    low: float
    high: float


def spread(samples: Sequence[float], **names: str) -> Row:
    """Return the row of a figure that was measured several times."""
    low, median, high = np.min(samples), np.median(samples), np.max(samples)
    names = {"subject": "", "size": "", "unit": "", **names}
    return Row(**names, value=float(median), low=float(low), high=float(high))


def frame(rows: Iterable[Any]) -> pd.DataFrame:
    """Return a table of dataclass instances, one line for each."""
    return pd.DataFrame([asdict(row) for row in rows])


def read(folder: Path) -> pd.DataFrame:
    """Return the rows of an earlier run in the folder, or none."""
    file = folder / FILE
    if not file.exists():
        return pd.DataFrame({"part": []})
    text = dict.fromkeys(set(pd.read_csv(file, nrows=0).columns) - NUMBERS, str)
    return pd.read_csv(file, dtype=text, keep_default_na=False, na_values=["nan"])


def store(folder: Path, part: str, new: pd.DataFrame) -> None:
    """Write the rows of a part, each number with four digits; other parts stay."""
    old = read(folder)
    kept = old[old["part"] != part]
    both = pd.concat([kept, new] if len(kept) else [new], ignore_index=True)
    folder.mkdir(parents=True, exist_ok=True)
    both.to_csv(folder / FILE, index=False, float_format="%.4g", na_rep="nan")


def find(rows: pd.DataFrame, **names: str) -> pd.DataFrame:
    """Return the rows that have these names."""
    for name, value in names.items():
        rows = rows[rows[name] == value]
    return rows
