"""One picture: what was counted, on the lines that the formulas give."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.workers import model
from benchmarks.workers.counts import Count
from benchmarks.workers.plans import DENSE, LAZY

NAME = "workers.png"
FARTHEST = 64
COLORS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")


def write(counts: Sequence[Count], folder: Path) -> None:
    """Draw the counts into the folder."""
    figure = _draw(counts)
    figure.savefig(folder / NAME, dpi=110)
    plt.close(figure)


def _draw(counts: Sequence[Count]) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 7), layout="constrained")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", ylabel="bytes a step, all workers")
    rows = [count for count in counts if count.gradient == LAZY]
    dense = [count for count in counts if count.gradient == DENSE]
    _by_workers(left, dense, rows)
    _by_rows(right, rows)
    for axes in (left, right):
        axes.grid(which="major", alpha=0.3)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    figure.suptitle("Bytes of a step: measured (points) and computed (lines)")
    return figure


def _by_workers(axes: Axes, dense: Sequence[Count], rows: Sequence[Count]) -> None:
    """A line for each gradient, from the fewest workers to many more than were run."""
    workers = np.geomspace(2, FARTHEST, 50)
    kinds = dict.fromkeys((c.gradient, c.rows, c.touched, c.width) for c in dense)
    for color, (_, size, _, width) in zip(COLORS, kinds):
        numbers = size * width
        label = f"dense, {numbers:,} parameters"
        line = [model.dense_sum(n, numbers) for n in workers]
        axes.plot(workers, line, "--", color=color, label=label)
        _points(axes, [c for c in dense if c.rows == size], color, "s")
    for color, touched in zip(COLORS, dict.fromkeys(c.touched for c in rows)):
        same = [c for c in rows if c.touched == touched]
        line = [model.sum_of_rows(n, touched, same[0].width) for n in workers]
        axes.plot(workers, line, color=color, label=f"rows, {touched:,} a worker")
        _points(axes, same, color, "o")
    ticks = [2, 3, 4, 8, 16, 32, FARTHEST]
    axes.set(xlabel="workers", title="By the number of workers (measured: 2 to 4)")
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()


def _points(axes: Axes, counts: Sequence[Count], color: str, marker: str) -> None:
    axes.plot(
        [count.workers for count in counts],
        [count.bytes_a_step for count in counts],
        marker,
        color=color,
    )


def _by_rows(axes: Axes, rows: Sequence[Count]) -> None:
    """A line for each number of workers, and the dense sum of the same table."""
    table, width = rows[0].rows, rows[0].width
    touched = np.geomspace(min(c.touched for c in rows), table, 50)
    for color, workers in zip(COLORS, dict.fromkeys(c.workers for c in rows)):
        same = [c for c in rows if c.workers == workers]
        line = [model.sum_of_rows(workers, r, width) for r in touched]
        axes.plot(touched, line, color=color, label=f"rows, {workers} workers")
        sent = [c.bytes_a_step for c in same]
        axes.plot([c.touched for c in same], sent, "o", color=color)
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
