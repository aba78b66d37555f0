"""One picture: what was counted, on the lines that the formulas give."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks import figures
from benchmarks.workers.counts import computed
from benchmarks.workers.plans import DENSE, LAZY, WIDTH

NAME = "workers.png"
FARTHEST = 64
COLORS = (figures.BLUE, figures.ORANGE, figures.GREEN, figures.PINK)


def write(counted: pd.DataFrame, folder: Path) -> None:
    """Draw the counts into the folder."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 7))
    _by_workers(left, counted[counted["case"] == DENSE], "s--")
    _by_workers(left, counted[counted["case"] == LAZY], "o-")
    _by_rows(right, counted[counted["case"] == LAZY])
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", ylabel="bytes a step, all workers")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    ticks = [2, 3, 4, 8, 16, 32, FARTHEST]
    left.set_xticks(ticks, [str(n) for n in ticks])
    left.minorticks_off()
    figure.suptitle("Bytes of a step: measured (points) and computed (lines)")
    figures.save(figure, folder / NAME)


def _by_workers(axes: Axes, counted: pd.DataFrame, style: str) -> None:
    """A line for each case, from the fewest workers to many more than were run."""
    marker, line = style[0], style[1:]
    workers = range(2, FARTHEST + 1)
    for color, (label, same) in zip(COLORS, counted.groupby("label", sort=False)):
        case, *size = same[["case", "touched", "rows"]].iloc[0]
        needed = [computed(case, n, *size) for n in workers]
        axes.plot(workers, needed, line, color=color, label=label)
        axes.plot(same["workers"], same["sent"], marker, color=color)
    axes.set(xlabel="workers", title="By the number of workers (measured: 2 to 4)")


def _by_rows(axes: Axes, counted: pd.DataFrame) -> None:
    """A line for each number of workers, and the dense sum of the same table."""
    table = counted["rows"].iloc[0]
    touched = np.geomspace(counted["touched"].min(), table, 50)
    for color, n in zip(COLORS, counted["workers"].unique()):
        same = counted[counted["workers"] == n]
        needed = [computed(LAZY, n, each, table) for each in touched]
        axes.plot(touched, needed, color=color, label=f"rows, {n} workers")
        axes.plot(same["touched"], same["sent"], "o", color=color)
        label = f"the table's dense sum, {n} workers"
        dense = computed(DENSE, n, table, table)
        axes.axhline(dense, color=color, linestyle="--", label=label)
    axes.set(
        xlabel="rows that each worker touches",
        title=f"By rows, of a table of {table:,} rows of {WIDTH} float32",
    )
