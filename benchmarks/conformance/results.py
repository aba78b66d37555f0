"""What the checks said, as a table: a line for each optimizer and check."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from benchmarks.conformance.contenders import CONTENDERS
from keras_textbook_opt.testing import CHECKS, Result

FILE = "results.csv"
COLUMNS = ["house", "optimizer", "check", "status", "seconds", "said"]
KEYS = ["house", "optimizer", "check"]


def frame(house: str, name: str, results: Iterable[Result]) -> pd.DataFrame:
    """Return what is kept of an optimizer's results."""
    lines = [
        (
            *(house, name, each["check_name"], each["status"]),
            *(round(each["seconds"], 1), str(each["exception"] or "")),
        )
        for each in results
    ]
    return pd.DataFrame(lines, columns=COLUMNS)


def read(folder: Path) -> pd.DataFrame:
    """Return the results of the folder, none where there are none."""
    if not (folder / FILE).exists():
        return pd.DataFrame(columns=COLUMNS)
    return pd.read_csv(folder / FILE, keep_default_na=False)


def merged(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Return both in the order of a run, the new results in the place of old ones."""
    both = pd.concat([each for each in (old, new) if len(each)], ignore_index=True)
    both = both.drop_duplicates(KEYS, keep="last")
    names = [f"{house}: {name}" for house in CONTENDERS for name in CONTENDERS[house]]
    checks = [check.__name__ for check in CHECKS]
    order = pd.DataFrame(
        {
            # What is not installed here comes last.
            "who": (both["house"] + ": " + both["optimizer"]).map(_places(names)),
            "check": both["check"].map(_places(checks)),
        }
    )
    known = order.dropna(subset="check").sort_values(["who", "check"])
    return both.loc[known.index].reset_index(drop=True)


def _places(names: list[str]) -> dict[str, int]:
    return {name: place for place, name in enumerate(names)}


def write(results: pd.DataFrame, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    results.to_csv(folder / FILE, index=False)
