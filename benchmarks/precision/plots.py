"""Two pictures: the final losses by dtype, and the losses along the training."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks import figures
from benchmarks.precision.lines import TOLERANCE, Line
from benchmarks.precision.measure import CURVE
from benchmarks.precision.variants import BUILTIN
from benchmarks.rows import find

COLORS = {
    "float32": figures.BLACK,
    "bfloat16": figures.BLUE,
    "float16": figures.ORANGE,
}
STYLES = {"float32": "-", "bfloat16": "--", "float16": ":"}
FINAL, CURVES = "final_losses.png", "curves.png"
NAMES = (FINAL, CURVES)
TICKS = np.array([-1, -0.2, -0.05, 0, 0.05, 0.2, 1, 10, 100])
WIDE = 10


def write(found: pd.DataFrame, lines: Sequence[Line], folder: Path) -> None:
    """Write the plots into the folder."""
    by_task = [list(each) for _, each in groupby(lines, key=lambda line: line.task)]
    figures.save(_final_losses(by_task), folder / FINAL)
    figures.save(_curves(find(found, case=CURVE), by_task), folder / CURVES)


def _final_losses(by_task: Sequence[Sequence[Line]]) -> Figure:
    width = len(by_task)
    figure, axes = plt.subplots(1, width, figsize=(5.2 * width, 4.6), squeeze=False)
    for panel, lines in zip(axes[0], by_task, strict=True):
        _draw_distances(panel, [line for line in lines if line.is_compared])
        panel.set(
            title=lines[0].task.title, ylabel="final loss ÷ float32's − 1 (symlog)"
        )
    figures.legend_below(figure, columns=4)
    figure.suptitle(
        "Final loss in 16 bits, beside the same optimizer's and seed's in float32"
    )
    return figure


def _draw_distances(axes: Axes, lines: Sequence[Line]) -> None:
    near = f"within {TOLERANCE:.0%}"
    axes.axhspan(-TOLERANCE, TOLERANCE, color=figures.GREEN, alpha=0.15, label=near)
    for position, line in enumerate(lines):
        dtype, distances = line.variant.dtype, np.array(line.by_seed)
        at = np.full(len(distances), position)
        label = f"{dtype}, a seed"
        axes.plot(at, distances, "o", color=COLORS[dtype], alpha=0.6, label=label)
        axes.plot(position, line.from_float32, "k_", ms=14, label="of the medians")
        if broken := np.count_nonzero(~np.isfinite(distances)):
            axes.annotate(
                f"{broken} not finite",
                (position, 0.35),
                xycoords=("data", "axes fraction"),
                rotation=90,
                ha="center",
                va="top",
                fontsize=8,
            )
    axes.set_yscale("symlog", linthresh=TOLERANCE)
    lowest, highest = axes.get_ylim()
    lowest, highest = min(lowest, -0.2), max(highest, 0.2)
    axes.set_ylim(lowest, highest)
    axes.set_yticks(TICKS[(lowest <= TICKS) & (highest >= TICKS)])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+.0%}")
    axes.set_xlim(-0.6, len(lines) - 0.4)
    names = [line.variant.name.replace("keras.optimizers", "keras") for line in lines]
    names = [name.replace(", ", "\n") for name in names]
    axes.set_xticks(range(len(lines)), names, rotation=90, fontsize=8)


def _curves(curves: pd.DataFrame, by_task: Sequence[Sequence[Line]]) -> Figure:
    columns = list(dict.fromkeys(each.variant.optimizer for each in by_task[0]))
    shape = len(by_task), len(columns)
    size = 4 * shape[1], 3.2 * shape[0] + 0.8
    figure, axes = plt.subplots(*shape, figsize=size, squeeze=False)
    for row, lines in zip(axes, by_task, strict=True):
        of_task = find(curves, part=lines[0].task.name)
        for panel, optimizer in zip(row, columns, strict=True):
            _draw_curves(panel, of_task, optimizer, lines)
        _share_range(row, of_task)
    figures.legend_below(figure)
    figure.suptitle("Training loss along the run: median and range over the seeds")
    return figure


def _draw_curves(
    axes: Axes, curves: pd.DataFrame, optimizer: str, lines: Sequence[Line]
) -> None:
    for line in lines:
        if line.variant.optimizer != optimizer:
            continue
        dtype = line.variant.dtype
        low, median, high = (
            find(curves, subject=line.variant.name, quantile=quantile)["value"]
            for quantile in (0.0, 0.5, 1.0)
        )
        sizes = find(curves, subject=line.variant.name, quantile=0.5)["size"]
        epochs = sizes.str.removeprefix("epoch ").astype(int)
        axes.plot(
            epochs,
            median,
            STYLES[dtype],
            color=COLORS[dtype],
            alpha=0.4 if dtype == "float32" else 1,
            linewidth=3 if dtype == "float32" else 1.6,
            marker="o" if len(epochs) == 1 else None,
            label=dtype,
        )
        axes.fill_between(epochs, low, high, color=COLORS[dtype], alpha=0.15)
    task = lines[0].task
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epochs", ylabel=f"{task.loss_name}\nin {task.unit}")
    axes.set_title(f"{task.title}\n{optimizer}", fontsize=9)


def _share_range(row: Sequence[Axes], curves: pd.DataFrame) -> None:
    """Give a task's panels one range: that of all but the built-in in float16."""
    may_break = curves["subject"] == f"{BUILTIN}, float16"
    shown = curves[~may_break & np.isfinite(curves["value"])]["value"]
    top = shown.max() * 1.1
    for axes in row:
        axes.set_yscale("log" if shown.max() > WIDE * shown.min() else "linear")
        axes.set_ylim(shown.min() * 0.9, top)
    breaking = curves[may_break]["value"]
    if not (breaking <= top).all():
        broken = not np.isfinite(breaking).all()
        said = "not finite in some seeds" if broken else "leaves this range"
        row[-1].text(
            0.5, 0.6, f"float16: {said}", transform=row[-1].transAxes, ha="center"
        )
