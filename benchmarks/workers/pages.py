"""The report of the results: the bytes of a step."""

from pathlib import Path

import pandas as pd

from benchmarks import report, rows

LEGEND = (
    "Bytes of one step, sent by both of two workers of `MultiWorkerMirroredStrategy`, "
    "counted on the loopback, protocol included. The table has 100,000 rows of 16 "
    "float32; each worker looks up 1,024 rows, row `k` in proportion to `k⁻ˢ`. `Adam` "
    "is lazy and sends each row once; *clipped* is with `global_clipnorm`."
)


def publish(folder: Path) -> str:
    """Write the report, and return the text to print."""
    cells = table(rows.read(folder))
    return report.write(
        folder,
        title="Bytes between workers",
        command="workers",
        table=f"{report.table(cells)}\n\n{LEGEND}",
        printed=report.table(cells, "simple"),
    )


def table(found: pd.DataFrame) -> pd.DataFrame:
    """Return the bytes by lookups and by optimizer."""
    sent = found.pivot(index="case", columns="subject", values="value").map(size)
    cells = sent.loc[found["case"].unique(), found["subject"].unique()]
    return cells.rename_axis("lookups").reset_index()


def size(count: float) -> str:
    """Return a number of bytes as text."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
