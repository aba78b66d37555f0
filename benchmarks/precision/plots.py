"""Two pictures: the final losses by dtype, and the losses along the training."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from benchmarks import curves, figures
from benchmarks.precision.lines import TOLERANCE
from benchmarks.precision.measure import CURVE
from benchmarks.precision.variants import BUILTIN
from benchmarks.rows import find

STYLES: dict[str, dict[str, Any]] = {
    "float32": {"color": figures.BLACK, "ls": "-", "lw": 3, "alpha": 0.4},
    "bfloat16": {"color": figures.BLUE, "ls": "--", "lw": 1.6},
    "float16": {"color": figures.ORANGE, "ls": ":", "lw": 1.6},
}
FINAL, CURVES = "final_losses.png", "curves.png"
NAMES = (FINAL, CURVES)
TICKS = [-1, -0.2, -0.05, 0, 0.05, 0.2, 1, 10, 100]


def write(found: pd.DataFrame, lines: pd.DataFrame, folder: Path) -> None:
    """Write the plots into the folder."""
    _final_losses(lines, folder / FINAL)
    _curves(find(found, case=CURVE), lines, folder / CURVES)


def _final_losses(lines: pd.DataFrame, file: Path) -> None:
    tasks = lines["task"].unique()
    size = 5.2 * len(tasks), 4.6
    figure, axes = plt.subplots(1, len(tasks), figsize=size, squeeze=False)
    for panel, task in zip(axes[0], tasks, strict=True):
        _draw_distances(panel, find(lines, task=task, compared=True))
        panel.set(title=task.title, ylabel="final loss ÷ float32's − 1 (symlog)")
    figures.legend_below(figure, columns=4)
    figure.suptitle(
        "Final loss in 16 bits, beside the same optimizer's and seed's in float32"
    )
    figures.save(figure, file)


def _draw_distances(axes: Axes, lines: pd.DataFrame) -> None:
    near = f"within {TOLERANCE:.0%}"
    axes.axhspan(-TOLERANCE, TOLERANCE, color=figures.GREEN, alpha=0.15, label=near)
    for place, line in enumerate(lines.to_dict("records")):
        dtype, by_seed = line["dtype"], line["by_seed"]
        name = f"{line['optimizer']}\n{dtype}".replace("keras.optimizers", "keras")
        color, label = STYLES[dtype]["color"], f"{dtype}, a seed"
        at = [name] * len(by_seed)
        axes.plot(at, by_seed, "o", color=color, alpha=0.6, label=label)
        axes.plot(name, line["from_float32"], "k_", ms=14, label="of the medians")
        if broken := np.count_nonzero(np.isnan(by_seed)):
            axes.text(place, 0.1, f"{broken} not finite", ha="center", fontsize=8)
    axes.set_yscale("symlog", linthresh=TOLERANCE)
    lowest, highest = axes.get_ylim()
    axes.set_yticks(TICKS)
    axes.set_ylim(min(lowest, -0.2), max(highest, 0.2))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+.0%}")
    axes.tick_params("x", rotation=90, labelsize=8)


def _curves(found: pd.DataFrame, lines: pd.DataFrame, file: Path) -> None:
    tasks, optimizers = lines["task"].unique(), lines["optimizer"].unique()
    shape = len(tasks), len(optimizers)
    size = 4 * shape[1], 3.2 * shape[0] + 0.8
    figure, grid = plt.subplots(*shape, figsize=size, squeeze=False, sharey="row")
    for row, task in zip(grid, tasks, strict=True):
        of_task = find(found, part=task.name)
        for axes, optimizer in zip(row, optimizers, strict=True):
            for dtype in find(lines, task=task, optimizer=optimizer)["dtype"]:
                curve = find(of_task, subject=f"{optimizer}, {dtype}")
                style = STYLES[dtype]
                curves.draw(axes, curve, band=style["color"], label=dtype, **style)
            axes.set_title(f"{task.title}\n{optimizer}", fontsize=9)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlabel("epochs")
        loss = task.loss.name.replace("_", " ")
        row[0].set_ylabel(f"{loss}\nin {task.unit}")
        _limit(row[-1], of_task)
    figures.legend_below(figure)
    figure.suptitle("Training loss along the run: median and range over the seeds")
    figures.save(figure, file)


def _limit(axes: Axes, found: pd.DataFrame) -> None:
    """Let a task's panels show all but the built-in in float16, which may break."""
    may_break = found["subject"] == f"{BUILTIN}, float16"
    shown, breaking = found[~may_break]["value"], found[may_break]["value"]
    axes.set_yscale("log" if shown.max() > 10 * shown.min() else "linear")
    axes.set_ylim(shown.min() * 0.9, shown.max() * 1.1)
    if not (breaking <= shown.max() * 1.1).all():
        said = "float16 leaves this range"
        axes.text(0.5, 0.6, said, transform=axes.transAxes, ha="center")
