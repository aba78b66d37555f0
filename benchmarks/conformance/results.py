"""The results of the checks: a line for each check, a column for each optimizer.

A passed check is `.`, a skipped one `-`; a failed one holds its message in short.
"""

import re
from pathlib import Path

import pandas as pd

from benchmarks.rows import FILE

SIGNS = {"passed": ".", "skipped": "-"}
LONGEST = 100


def wide(folder: Path) -> pd.DataFrame:
    """Return the table as it is written, its lines named by group and check."""
    if not (folder / FILE).exists():
        return pd.DataFrame()
    index = ["group", "check"]
    return pd.read_csv(folder / FILE, keep_default_na=False, dtype=str, index_col=index)


def read(folder: Path) -> pd.DataFrame:
    """Return a line for each optimizer and check, with its status and message."""
    long = wide(folder).reset_index().melt(["group", "check"], value_name="said")
    names = long.pop("variable").str.split(": ", n=1, expand=True)
    long[["house", "optimizer"]] = names
    status = {sign: name for name, sign in SIGNS.items()}
    long["status"] = long["said"].map(status).fillna("failed")
    long["said"] = long["said"].mask(long["status"] != "failed", "")
    return long


def store(folder: Path, optimizer: str, found: pd.DataFrame) -> None:
    """Write the results of an optimizer into its column; the others stay.

    Checks that no longer exist are dropped; a new one is skipped elsewhere.
    """
    cells = found["status"].map(SIGNS).fillna(found["said"].map(short))
    new = found.assign(cell=cells).set_index(["group", "check"])["cell"]
    all_of_them = wide(folder)
    if len(all_of_them):
        kept = all_of_them.reindex(new.index, fill_value=SIGNS["skipped"])
        table = kept.assign(**{optimizer: new})
    else:
        table = new.to_frame(optimizer)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / FILE)


def short(message: str) -> str:
    """Return the start of a failure's message."""
    compared = " ".join(str(message).partition("\nTo ")[0].split())
    # A number that is a counter or an address changes from run to run.
    compared = re.sub(r"\b(\w+?)_\d+/", r"\1/", compared)
    return compared if len(compared) <= LONGEST else compared[: LONGEST - 1] + "…"
