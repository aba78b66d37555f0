"""What a benchmark measures, as tidy rows: one figure a row, in `results.csv`."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

FILE = "results.csv"
QUARTILES = (0.25, 0.5, 0.75)
OVER = " ÷ "


@dataclass(frozen=True)
class Row:
    """One figure.

    Args:
        part: The part of the benchmark, which is measured anew as a whole.
        case: What was done, as "Adam + clipnorm".
        subject: Whose it is, as "ours", or `ratio_name` of two of them.
        backend: The backend of Keras in whose process it was measured, peers too, and
            its mode, as "tensorflow, jit_compile".
        size: How much of it, as "200 of 64×64", or a place in it, as "epoch 3".
        quantile: Of repeated measurements; 0.5 where there is one.
        value: The figure.
        unit: Its unit; nothing for a ratio or a count.
    """

    part: str
    case: str
    subject: str
    backend: str
    size: str
    quantile: float
    value: float
    unit: str


NAMES = [field.name for field in fields(Row)]
# By these a row is found.
KEYS = [name for name in NAMES if name not in ("value", "unit")]


def quartiles(samples: Sequence[float], **names: str) -> list[Row]:
    """Return the rows of repeated measurements; `names` are the other fields."""
    values = np.quantile(samples, QUARTILES).tolist()
    return [
        Row(quantile=quantile, value=value, **names)
        for quantile, value in zip(QUARTILES, values, strict=True)
    ]


def extremes(samples: Sequence[float], **names: str) -> list[Row]:
    """Return the rows of the smallest, the median and the largest; see `quartiles`."""
    values = (np.min(samples), np.median(samples), np.max(samples))
    return [
        Row(quantile=quantile, value=float(value), **names)
        for quantile, value in zip((0.0, 0.5, 1.0), values, strict=True)
    ]


def ratio_name(over: str, under: str) -> str:
    return f"{over}{OVER}{under}"


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    return pd.DataFrame([asdict(row) for row in rows], columns=NAMES)


def read(folder: Path) -> pd.DataFrame:
    """Return the rows of an earlier run in the folder, or none."""
    if not (folder / FILE).exists():
        return frame([])
    names = dict.fromkeys(set(NAMES) - {"quantile", "value"}, str)
    return pd.read_csv(
        folder / FILE, dtype=names, keep_default_na=False, na_values={"value": [""]}
    )


def write(rows: pd.DataFrame, folder: Path) -> None:
    """Write the rows into the folder: integers in full, else a float32's nine digits.

    Raises:
        ValueError: Two rows have the same names.
    """
    twice = rows[rows.duplicated(KEYS)]
    if len(twice):
        raise ValueError(f"measured twice:\n{twice[KEYS].to_string(index=False)}")
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / FILE, index=False, float_format=_digits)


def _digits(value: object) -> str:
    assert isinstance(value, float)
    return f"{value:.0f}" if value.is_integer() else f"{value:.9g}"


def with_part(rows: pd.DataFrame, measured: Iterable[Row]) -> pd.DataFrame:
    """Return the rows, those of parts that were measured anew in the place of old."""
    new = frame(measured)
    kept = rows[~rows["part"].isin(new["part"].unique())]
    return pd.concat([each for each in (kept, new) if len(each)], ignore_index=True)


def find(rows: pd.DataFrame, **names: str | float) -> pd.DataFrame:
    """Return the rows that have these names."""
    found = rows
    for name, value in names.items():
        found = found[found[name] == value]
    return found


def median(rows: pd.DataFrame, **names: str) -> float:
    """Return the one median of these names; NaN if it was not measured.

    Raises:
        LookupError: There are several.
    """
    values = find(rows, quantile=0.5, **names)["value"]
    if len(values) > 1:
        raise LookupError(f"{len(values)} rows are of {names}")
    return float(values.iloc[0]) if len(values) else float("nan")
