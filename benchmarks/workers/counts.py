"""What was counted, beside what the formulas say."""

import numpy as np
import pandas as pd

from benchmarks.workers import model
from benchmarks.workers.plans import DENSE, WIDTH

# Messages to each other worker: a dense gradient goes around twice; of rows it is their
# lengths, their numbers and their indices.
OF_DENSE, OF_ROWS = 2, 3


def computed(gradient: str, workers: int, touched: int, rows: int) -> int:
    """Return the bytes that have to travel, where each worker has rows of its own."""
    if gradient == DENSE:
        return model.dense_sum(workers, rows * WIDTH)
    return model.sum_of_rows(workers, touched, WIDTH)


def label(gradient: str, workers: int, touched: int, rows: int) -> str:
    """Return what a case is called where it is compared with the formulas."""
    if gradient == DENSE:
        return f"dense, {rows * WIDTH:,} parameters"
    return f"{touched:,} rows of {rows:,}, {gradient}"


def counts(found: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, those of a case together, and what is known of each.

    Beside a row's own columns there are the arguments of `computed` and its result, the
    `label`, and of all workers together the bytes that were `sent`, how many `more`
    these are than were computed, and the `messages` that they went in.
    """
    numbers = found["size"].str.extract(r"(?P<touched>\d+) of (?P<rows>\d+)×")
    workers = found["part"].str.extract(r"(?P<workers>\d+)")
    known = found.join([workers.astype(int), numbers.astype(int)])
    arguments = known[["case", "workers", "touched", "rows"]].to_numpy()
    known["computed"] = [computed(*each) for each in arguments]
    known["label"] = [label(*each) for each in arguments]
    known["sent"] = known["value"].astype(int)
    known["more"] = known["sent"] - known["computed"]
    to_each = np.where(known["case"] == DENSE, OF_DENSE, OF_ROWS)
    known["messages"] = known["workers"] * (known["workers"] - 1) * to_each
    order = known.groupby(["case", "size"], sort=False).ngroup()
    return known.iloc[np.argsort(order, kind="stable")]


def size(count: float) -> str:
    """Return a number of bytes as text."""
    if count >= 1e12:
        return f"{count / 1e12:,.1f} TB"
    if count >= 1e9:
        return f"{count / 1e9:,.1f} GB"
    if count >= 1e8:
        return f"{count / 1e6:,.1f} MB"
    return f"{count / 1e3:,.0f} kB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
