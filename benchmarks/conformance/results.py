"""What the checks said, as a table: a line for each optimizer and check."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.rows import FILE

WHO = ["house", "optimizer"]
COLUMNS = [*WHO, "check", "status", "seconds", "said"]


def read(folder: Path) -> pd.DataFrame:
    """Return the results of the folder, none where there are none."""
    if not (folder / FILE).exists():
        return pd.DataFrame(columns=COLUMNS)
    return pd.read_csv(folder / FILE, keep_default_na=False)


def merged(old: pd.DataFrame, new: pd.DataFrame, checks: Sequence[str]) -> pd.DataFrame:
    """Return both, the new results in the place of old ones of the same check.

    The optimizers of a house stand together in the order in which they came, and the
    checks in the order given; what is no check any more is left out.
    """
    both = pd.concat([each for each in (old, new) if len(each)], ignore_index=True)
    order = pd.DataFrame(
        {
            "house": both.groupby("house", sort=False).ngroup(),
            "optimizer": both.groupby(WHO, sort=False).ngroup(),
            "check": both["check"].map({name: k for k, name in enumerate(checks)}),
        }
    )
    known = order.dropna().drop_duplicates(keep="last")
    return both.loc[known.sort_values([*WHO, "check"]).index].reset_index(drop=True)


def write(results: pd.DataFrame, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    results.to_csv(folder / FILE, index=False)
