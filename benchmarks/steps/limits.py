"""The limits that the project sets itself, in `limits.csv`: for its developers.

A line bounds the ratio of every row that has its names; an empty name is any.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import rows

TABLE = Path(__file__).with_suffix(".csv")
LIMITS = pd.read_csv(TABLE, dtype=str, keep_default_na=False)


def check(found: pd.DataFrame) -> str:
    """Return how many limits are kept, and the rows below theirs."""
    kept, missing, below = 0, 0, []
    for limit in LIMITS.to_dict("records"):
        at_least = limit.pop("at_least")
        names = {str(name): it for name, it in limit.items() if it}
        its_rows = rows.find(found, **names)
        slow = its_rows[its_rows["ratio"] < float(at_least)]
        below += [_line(at_least, row) for row in slow.itertuples()]
        missing += its_rows.empty
        kept += len(its_rows) > 0 and slow.empty
    title = f"Limits: {kept} of {len(LIMITS)} kept, {missing} not measured."
    return "\n".join([title, *(["Rows below their limit:"] if below else []), *below])


def _line(at_least: str, row: Any) -> str:
    where = f"{row.backend}, {row.cores} cores, {row.size}"
    what = f"{row.what}: {row.case} ({row.other} over {row.subject})"
    return f"  {row.ratio:.2f} < {at_least}  {where}\n      {what}"
