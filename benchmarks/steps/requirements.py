"""What the steps must reach, by the limits of `requirements.csv`, and whether they do.

A line of it is one figure: its limit, and the names of its row in the results. Lines of
one title are one requirement, which is reached when each figure keeps to its limit.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import report, rows
from benchmarks.report import number

REACHED, NOT_REACHED, NOT_MEASURED = "reached", "not reached", "not measured"
NAMES = ["part", "case", "subject", "backend", "size"]
LIMITS = pd.read_csv(Path(__file__).with_suffix(".csv"), keep_default_na=False)


def verdicts(found: pd.DataFrame) -> dict[str, str]:
    """Return whether each requirement is reached, by its title."""
    return {str(title): _verdict(its) for title, its in _by_title(found)}


def table(found: pd.DataFrame) -> str:
    """Return what each requirement wants, what was measured, and the verdict."""
    return report.table([_line(str(title), its) for title, its in _by_title(found)])


def _by_title(found: pd.DataFrame) -> "pd.api.typing.DataFrameGroupBy":
    """Return the limits with the median of each figure as its `value`, or NaN."""
    medians = rows.find(found, quantile=0.5)[[*NAMES, "value"]]
    figures = LIMITS.merge(medians, "left", NAMES, validate="many_to_one")
    return figures.groupby("title", sort=False)


def _verdict(figures: pd.DataFrame) -> str:
    value, limit = figures["value"], figures["limit"]
    if value.isna().any():
        return NOT_MEASURED
    at_least = figures["bound"] == "at least"
    kept = np.where(at_least, value >= limit, value <= limit)
    return REACHED if kept.all() else NOT_REACHED


def _line(title: str, figures: pd.DataFrame) -> dict[str, str]:
    limits = [f"{limit:g}" for limit in figures["limit"]]
    if len(set(limits)) == 1:
        limits = limits[:1]
    measured = zip(figures["label"], figures["value"])
    first = figures.iloc[0]
    return {
        "case": title,
        "must reach": f"{first['bound']} {'; '.join(limits)}{first['unit']}",
        "measured": "; ".join(f"{label} {number(v)}".strip() for label, v in measured),
        "verdict": _verdict(figures),
    }
