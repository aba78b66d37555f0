"""The report of the results: the table of all variants, and the picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from benchmarks import figures, report, rows
from benchmarks.precision import variants
from benchmarks.precision.variants import NARROW, OPTIMIZERS, TOLERANCE, WITHOUT_CARRY

PICTURE = "final_losses.png"
TITLES = {
    "boston": "MLP on Boston housing",
    "embedding": "Embedding classifier",
    "transformer": "Small Transformer",
}
LEGEND = (
    "*Final loss*: over all training data, of the last weights in a model of float32: "
    "median (smallest–largest) over the seeds. *From float32*: the distance of the "
    f"medians from that of the same optimizer in float32 (`{WITHOUT_CARRY}` from "
    "`Adam`), and its range over the seeds. The whole model is in the dtype; all start "
    "from the same weights, rounded, with the same batches. No run has a loss scale."
)
# In the picture, which has little room.
SHORT = ("Adam", "Momentum", "Adam, no carry", "Keras's Adam")
TICKS = ("−5 %", "0", "+5 %", "+100 %", "+10,000 %")
COLORS = {"bfloat16": figures.BLUE, "float16": figures.ORANGE}


def publish(folder: Path) -> str:
    """Write the report and the picture, and return the text to print."""
    found = rows.read(folder)
    figures.save(_picture(found), folder / PICTURE)
    cells = pd.DataFrame(lines(found))
    short = cells.drop(columns=["final loss"])
    return report.write(
        folder,
        title="Training in float32, bfloat16 and float16",
        command="precision",
        table=f"{report.table(cells)}\n\n{LEGEND}",
        printed=f"{report.table(short, 'simple')}\n\n{verdict(found)}",
        pictures=[PICTURE],
        sections=[f"## Within 5 % of float32?\n\n{verdict(found)}"],
    )


def lines(found: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Yield a line of the table for each task and variant."""
    for (task, subject), its_rows in found.groupby(["part", "subject"], sort=False):
        by_case = its_rows.set_index("case")
        optimizer, _, dtype = str(subject).rpartition(", ")
        final = by_case.loc[variants.FINAL]
        yield {
            "task": str(task),
            "optimizer": optimizer.replace("keras.optimizers", "keras"),
            "dtype": dtype,
            "final loss": report.spread(final) if np.isfinite(final.value) else "none",
            "from float32": _distance(by_case),
        }


def _distance(by_case: pd.DataFrame) -> str:
    if variants.FROM_WIDE not in by_case.index:
        return ""
    row = by_case.loc[variants.FROM_WIDE]
    if not np.isfinite(row.value):
        return "not finite"
    return f"{row.value:+.1%} ({row.low:+.1%} … {row.high:+.1%})"


def verdict(found: pd.DataFrame) -> str:
    """Return whether 16 bits come near to float32 wherever they should."""
    promised = [f"{name}, {dtype}" for name in variants.PROMISED for dtype in NARROW]
    distances = rows.find(found, case=variants.FROM_WIDE)
    judged = distances[distances["subject"].isin(promised)]
    near = judged["value"].abs() <= TOLERANCE
    missed = "; ".join((judged["part"] + ", " + judged["subject"])[~near])
    answer = f"**No**, not in: {missed}." if missed else "Yes."
    return (
        f"{answer} Of {len(judged)} combinations of a task, `Adam` or `Momentum`, and\n"
        f"bfloat16 or float16, {near.sum()} end with a median loss within 5 % of that "
        "in float32."
    )


def _picture(found: pd.DataFrame) -> Any:
    """Draw the distance of each variant from float32, a panel for each task."""
    figure, grid = plt.subplots(3, 1, figsize=(figures.WIDTH, 7), sharex=True)
    distances = rows.find(found, case=variants.FROM_WIDE)
    for axes, (task, title) in zip(grid, TITLES.items()):
        near = f"within {TOLERANCE:.0%}"
        axes.axvspan(-TOLERANCE, TOLERANCE, color=figures.GREEN, alpha=0.15, label=near)
        row: Any
        for row in rows.find(distances, part=task).itertuples():
            optimizer, _, dtype = row.subject.rpartition(", ")
            y = OPTIMIZERS.index(optimizer) + (0.15 if dtype == "float16" else -0.15)
            look = {"color": COLORS[dtype]}
            axes.plot([row.low, row.high], [y, y], lw=2, **look)
            axes.plot(row.value, y, "o", label=dtype, **look)
            if np.isnan(row.value):
                axes.text(0.06, y, f"{dtype}: not finite", va="center")
        axes.set_yticks(range(len(OPTIMIZERS)), SHORT)
        axes.set_ylim(len(OPTIMIZERS) - 0.5, -0.5)
        axes.set_title(title)
        axes.set_xscale("symlog", linthresh=TOLERANCE)
        axes.set_xticks([-TOLERANCE, 0, TOLERANCE, 1, 100], TICKS)
        axes.set_xlim(-2 * TOLERANCE, 200)
        axes.minorticks_off()
    grid[-1].set_xlabel("final loss, from that in float32 (symmetric log scale)")
    figures.legend_below(figure, 3)
    figure.suptitle("The final loss in 16 bits, from that in float32")
    return figure
