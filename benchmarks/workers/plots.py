"""One picture: what was counted, on the lines that the formulas give."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks import figures
from benchmarks.workers import model
from benchmarks.workers.counts import Count, computed
from benchmarks.workers.plans import DENSE, LAZY

NAME = "workers.png"
FARTHEST = 64
COLORS = (figures.BLUE, figures.ORANGE, figures.GREEN, figures.PINK)


def write(counts: Sequence[Count], folder: Path) -> None:
    """Draw the counts into the folder."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 7))
    _by_workers(left, counts)
    _by_rows(right, [count for count in counts if count.case.gradient == LAZY])
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", ylabel="bytes a step, all workers")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    ticks = [2, 3, 4, 8, 16, 32, FARTHEST]
    left.set_xticks(ticks, [str(n) for n in ticks])
    left.minorticks_off()
    figure.suptitle("Bytes of a step: measured (points) and computed (lines)")
    figures.save(figure, folder / NAME)


def _by_workers(axes: Axes, counts: Sequence[Count]) -> None:
    """A line for each gradient, from the fewest workers to many more than were run."""
    workers = range(2, FARTHEST + 1)
    for gradient, style, marker in ((DENSE, "--", "s"), (LAZY, "-", "o")):
        cases = dict.fromkeys(c.case for c in counts if c.case.gradient == gradient)
        for color, case in zip(COLORS, cases, strict=False):
            line = [computed(n, case) for n in workers]
            axes.plot(workers, line, style, color=color, label=case.label)
            same = [c for c in counts if c.case == case]
            sent = [c.sent for c in same]
            axes.plot([c.workers for c in same], sent, marker, color=color)
    axes.set(xlabel="workers", title="By the number of workers (measured: 2 to 4)")


def _by_rows(axes: Axes, rows: Sequence[Count]) -> None:
    """A line for each number of workers, and the dense sum of the same table."""
    table, width = rows[0].case.rows, rows[0].case.width
    touched = np.geomspace(min(c.case.touched for c in rows), table, 50)
    for color, workers in zip(COLORS, dict.fromkeys(c.workers for c in rows)):
        same = [c for c in rows if c.workers == workers]
        line = [model.sum_of_rows(workers, r, width) for r in touched]
        axes.plot(touched, line, color=color, label=f"rows, {workers} workers")
        sent = [c.sent for c in same]
        axes.plot([c.case.touched for c in same], sent, "o", color=color)
        axes.axhline(
            model.dense_sum(workers, table * width),
            color=color,
            linestyle="--",
            label=f"the table's dense sum, {workers} workers",
        )
    axes.set(
        xlabel="rows that each worker touches",
        title=f"By rows, of a table of {table:,} rows of {width} float32",
    )
