"""Two pictures: the final losses by dtype, and the losses along the training."""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.precision.summary import TOLERANCE, TaskSummary, VariantSummary
from benchmarks.precision.variants import BUILTIN

COLORS = {"float32": "tab:gray", "bfloat16": "tab:blue", "float16": "tab:orange"}
STYLES = {"float32": "-", "bfloat16": "--", "float16": ":"}
FINAL, CURVES = "final_losses.png", "curves.png"
NAMES = (FINAL, CURVES)
UNIT_WIDTH = 30
WIDE = 10


def write(tasks: Sequence[TaskSummary], folder: Path) -> None:
    """Write the plots into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in ((FINAL, _final_losses), (CURVES, _curves)):
        figure = draw(tasks)
        figure.savefig(folder / name, dpi=110)
        plt.close(figure)


def _final_losses(tasks: Sequence[TaskSummary]) -> Figure:
    figure, axes = plt.subplots(
        1, len(tasks), figsize=(5.2 * len(tasks), 4.6), layout="constrained"
    )
    for panel, task in zip(np.atleast_1d(axes), tasks, strict=True):
        _draw_differences(panel, task)
    handles, labels = np.atleast_1d(axes)[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    figure.suptitle(
        "Final loss in 16 bits, beside the same optimizer's and seed's in float32"
    )
    return figure


def _draw_differences(axes: Axes, task: TaskSummary) -> None:
    lines = [line for line in task.variants if line.from_float32]
    axes.axhspan(
        -TOLERANCE,
        TOLERANCE,
        color="tab:green",
        alpha=0.15,
        label=f"within {TOLERANCE:.0%}",
    )
    labelled: set[str] = set()
    for position, line in enumerate(lines):
        label = None if line.dtype in labelled else f"{line.dtype}, a seed"
        labelled.add(line.dtype)
        _draw_line(axes, position, line, label)
    axes.plot([], [], "k_", markersize=14, label="of the medians")
    axes.set_yscale("symlog", linthresh=TOLERANCE)
    ticks = [-1, -0.2, -0.05, 0, 0.05, 0.2, 1, 10, 100]
    lowest, highest = axes.get_ylim()
    axes.set_ylim(min(lowest, -0.2), max(highest, 0.2))
    axes.set_yticks([t for t in ticks if axes.get_ylim()[0] <= t <= axes.get_ylim()[1]])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+.0%}")
    axes.set_xticks(
        range(len(lines)), [_short(line) for line in lines], rotation=90, fontsize=8
    )
    axes.set_xlim(-0.6, len(lines) - 0.4)
    axes.set(title=task.title, ylabel="final loss ÷ float32's − 1 (symlog)")


def _draw_line(
    axes: Axes, position: int, line: VariantSummary, label: str | None
) -> None:
    assert line.from_float32 is not None
    seeds = np.array(line.from_float32.by_seed)
    finite = seeds[np.isfinite(seeds)]
    color = COLORS[line.dtype]
    axes.plot(
        np.full(len(finite), position), finite, "o", color=color, alpha=0.6, label=label
    )
    axes.plot([position], [line.from_float32.of_medians], "k_", markersize=14)
    if len(finite) < len(seeds):
        text = f"{len(seeds) - len(finite)} not finite"
        axes.annotate(
            text,
            (position, 0.35),
            xycoords=("data", "axes fraction"),
            rotation=90,
            ha="center",
            va="top",
            fontsize=8,
        )


def _short(line: VariantSummary) -> str:
    return f"{line.optimizer.replace('keras.optimizers', 'keras')}\n{line.dtype}"


def _curves(tasks: Sequence[TaskSummary]) -> Figure:
    columns = list(dict.fromkeys(line.optimizer for line in _lines(tasks)))
    figure, axes = plt.subplots(
        len(tasks),
        len(columns),
        figsize=(4 * len(columns), 3.2 * len(tasks) + 0.8),
        layout="constrained",
        squeeze=False,
    )
    for row, task in zip(axes, tasks, strict=True):
        for panel, optimizer in zip(row, columns, strict=True):
            _draw_curves(panel, task, optimizer)
        _share_range(row, task)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    figure.suptitle("Training loss of each epoch: median and range over the seeds")
    return figure


def _lines(tasks: Sequence[TaskSummary]) -> Iterator[VariantSummary]:
    return (line for task in tasks for line in task.variants)


def _draw_curves(axes: Axes, task: TaskSummary, optimizer: str) -> None:
    lines = [line for line in task.variants if line.optimizer == optimizer]
    for line in lines:
        curves = np.array(line.curves, dtype="float64")
        epochs = np.arange(1, curves.shape[1] + 1)
        color = COLORS[line.dtype]
        axes.plot(
            epochs,
            np.median(curves, axis=0),
            STYLES[line.dtype],
            color=color,
            linewidth=3 if line.dtype == "float32" else 1.6,
            marker="o" if len(epochs) == 1 else None,
            label=line.dtype,
        )
        axes.fill_between(epochs, curves.min(0), curves.max(0), color=color, alpha=0.15)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epochs", ylabel=textwrap.fill(task.unit, UNIT_WIDTH))
    axes.set_title(f"{task.title}\n{optimizer}", fontsize=9)


def _share_range(row: Sequence[Axes], task: TaskSummary) -> None:
    """Give a task's panels one range: that of all but the built-in in float16."""
    shown = [line for line in task.variants if not _may_break(line)]
    values = np.concatenate([np.ravel(line.curves) for line in shown])
    values = values[np.isfinite(values)]
    top = values.max() * 1.1
    wide = values.max() > WIDE * values.min()
    for axes in row:
        axes.set_yscale("log" if wide else "linear")
        axes.set_ylim(values.min() * 0.9, top)
    for line in filter(_may_break, task.variants):
        if not np.max(line.curves) <= top:
            text = (
                "not finite in some seeds" if _is_broken(line) else "leaves this range"
            )
            row[-1].text(
                0.5, 0.6, f"{line.dtype}: {text}", transform=row[-1].transAxes
            ).set_horizontalalignment("center")


def _may_break(line: VariantSummary) -> bool:
    return line.optimizer == BUILTIN and line.dtype == "float16"


def _is_broken(line: VariantSummary) -> bool:
    return not np.isfinite(line.curves).all()
