"""The report of the results: how many checks each optimizer fails, and which."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt

from benchmarks import figures, report
from benchmarks.conformance import results
from benchmarks.figures import WIDTH

PICTURE = "groups.png"
MEANING = (
    "[The checks](../../../docs/test-an-optimizer.md). A skipped check does not "
    "apply to the optimizer. `results.csv` has the message of each failure."
)


def publish(folder: Path) -> str:
    """Write the report and the picture, and return the text to print."""
    found = results.read(folder)
    figures.save(_picture(found), folder / PICTURE)
    said = counts(found)
    return report.write(
        folder,
        title="Checks of optimizers",
        command="conformance",
        table=report.table(said),
        printed=report.table(said, "simple"),
        pictures=[PICTURE],
        sections=[MEANING],
    )


def counts(found: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each optimizer, with the numbers of checks."""
    who = (found["house"] + ": " + found["optimizer"]).rename("optimizer")
    columns = ["passed", "failed", "skipped"]
    table = pd.crosstab(who, found["status"])
    return table.reindex(
        index=who.unique(), columns=columns, fill_value=0
    ).reset_index()


def _picture(found: pd.DataFrame) -> Any:
    """Draw a heat map: the share of failed checks, by optimizer and group."""
    short = {
        "this package": "ours: ",
        "keras.optimizers": "Keras: ",
        "from a package": "",
    }
    names = found["house"].replace(short) + found["optimizer"]
    found = found.assign(optimizer=names)
    judged = found[found["status"] != "skipped"]
    failed = judged["status"].eq("failed")
    shares = failed.groupby([judged["optimizer"], judged["group"]], sort=False).mean()
    table = shares.unstack().reindex(found["optimizer"].unique())
    table = table[[group for group in found["group"].unique() if group in table]]
    figure, axes = plt.subplots(figsize=(WIDTH, 1.5 + 0.22 * len(table)))
    axes.imshow(table, cmap="Oranges", vmin=0, vmax=1.2, aspect="auto")
    for (line, column), share in table.stack().items():
        at = table.columns.get_loc(column), table.index.get_loc(line)
        shown = f"{100 * share:.0f}" if share else "·"
        axes.text(*at, shown, ha="center", va="center", fontsize=9)
    axes.set_xticks(range(len(table.columns)), table.columns, rotation=60, ha="right")
    axes.set_yticks(range(len(table)), table.index)
    axes.grid(visible=False)
    figure.suptitle("Failed checks in % of each group (· none)")
    return figure
