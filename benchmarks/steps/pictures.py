"""The pictures: whole training steps, the update alone, embeddings, the README's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from benchmarks import figures, rows
from benchmarks.figures import BACKENDS, WIDTH
from benchmarks.steps.cases import BUILTIN, CLIPPED, LAZY, OURS, SIX
from benchmarks.steps.plans import BACKENDS as NAMES
from benchmarks.steps.plans import MLP, MODELS
from benchmarks.steps.sizes import CHAPTER, ODD, ONE, RESNET50, SMALL, rows_of

# The lists of variables, as they are called in a picture.
LISTS = {
    ONE: "20 M, one variable",
    RESNET50: "ResNet50",
    SMALL: "200 of 64×64",
    ODD: "120 odd shapes",
    CHAPTER: CHAPTER,
}
TICKS = [0.25, 0.5, 1, 2, 4, 8, 16]
LINES: dict[str, dict[str, Any]] = {
    BUILTIN: {"color": figures.GREY, "label": "keras.optimizers.Adam"},
    OURS: {"color": figures.BLUE, "label": "ours, exact"},
    LAZY: {"color": figures.SKY, "label": "ours, lazy"},
}
# Of the README's picture: what, size and case.
BARS = {
    "Update of 20 million\nparameters": ("update", ONE, "Adam"),
    "The same\nwith clipnorm": ("update", ONE, f"Adam{CLIPPED}"),
    f"Training step (fit),\n{MLP}": ("fit", MLP, "Adam"),
}


def write(found: pd.DataFrame, folder: Path) -> list[str]:
    """Draw the pictures whose rows there are, and return their file names."""
    found = found[found["cores"] == found["cores"].max()]
    fit, update = rows.find(found, what="fit"), rows.find(found, what="update")
    update = update[update["size"].isin(LISTS)]
    tables = rows.find(found, part="embeddings", what="update", case="Adam")
    drawn = {}
    if len(fit):
        title = "A whole training step (fit), ours and the built-in"
        drawn["models.png"] = _panels(fit, list(MODELS), title)
    if len(update):
        title = "The update alone, by optimizer and list of variables"
        drawn["update.png"] = _panels(update, list(LISTS), title)
    if len(tables):
        drawn["sparse.png"] = _tables(tables)
    if len(fit) and len(update):
        drawn["speedup.png"] = _bars(found)
    for name, figure in drawn.items():
        figures.save(figure, folder / name)
    return list(drawn)


def _panels(found: pd.DataFrame, sizes: Sequence[str], title: str) -> Any:
    """Draw a panel for each case, a line for each size, a dot for each contender."""
    figure, grid = plt.subplots(3, 2, figsize=(WIDTH, 8), sharex=True, sharey=True)
    measured = rows.find(found, other=BUILTIN)
    for axes, case in zip(grid.flat, SIX):
        _dots(axes, rows.find(measured, case=case), sizes)
        axes.set_title(case.replace(CLIPPED, " with clipnorm"))
    for axes in grid[-1]:
        axes.set_xlabel("times as fast as keras.optimizers")
    figures.legend_below(figure, 3)
    figure.suptitle(title)
    return figure


def _dots(axes: Axes, found: pd.DataFrame, sizes: Sequence[str]) -> None:
    axes.axvline(1, color="black", lw=1)
    backends = [it for it in BACKENDS if it in set(found["backend"])]
    names = ["backend", "subject"]
    for (backend, contender), its_rows in found.groupby(names, sort=False):
        name, color = BACKENDS[str(backend)]
        labels = {OURS: name, LAZY: f"{name}, lazy"}
        look: dict[str, Any] = {"marker": "o", "color": color, "ms": 6}
        look |= {} if contender == OURS else {"marker": "D", "mfc": "white"}
        label = labels.get(str(contender), str(contender))
        offset = 0.18 * (backends.index(str(backend)) - (len(backends) - 1) / 2)
        places = [sizes.index(size) + offset for size in its_rows["size"]]
        axes.plot(its_rows["ratio"], places, ls="", label=label, **look)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}×")
    axes.set_yticks(range(len(sizes)), [LISTS.get(it, it) for it in sizes])
    axes.set_ylim(len(sizes) - 0.5, -0.5)


def _tables(found: pd.DataFrame) -> Any:
    """Draw the time of a step against the size of the table."""
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2))
    ours, builtin = found[["subject", "size", "value"]], found[["other", "size"]]
    builtin = builtin.assign(value=found["other_value"]).drop_duplicates("size")
    both = pd.concat([ours, builtin.set_axis(ours.columns, axis=1)])
    for name, look in LINES.items():
        its_rows = rows.find(both, subject=name)
        table_rows = its_rows["size"].map(rows_of)
        axes.plot(table_rows, its_rows["value"], marker="o", lw=2, **look)
    axes.set(xscale="log", yscale="log", ylabel="milliseconds a step")
    axes.set_xlabel("rows of the embedding table, each of 32 numbers")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_title("Adam on an embedding table: a step that looks up 1,024 rows")
    axes.legend()
    return figure


def _bars(found: pd.DataFrame) -> Any:
    """Draw the README's picture: Adam on each backend, in three situations."""
    figure, axes = plt.subplots(figsize=(WIDTH, 4.6))
    there = {*zip(found["what"], found["size"], found["case"])}
    groups = {title: names for title, names in BARS.items() if names in there}
    for place, backend in enumerate(NAMES):
        name, color = BACKENDS[backend]
        its_rows = rows.find(found, backend=backend, subject=OURS, other=BUILTIN)
        by_names = its_rows.set_index(["what", "size", "case"])["ratio"]
        ratios = [by_names.get(names, 0.0) for names in groups.values()]
        at = [group + 0.27 * (place - 1) for group in range(len(groups))]
        bars = axes.barh(at, ratios, 0.25, color=color, label=name)
        axes.bar_label(bars, fmt=" %.3g×", fontsize=13)
    axes.axvline(1, color="black", lw=1)
    axes.set_yticks(range(len(groups)), list(groups), fontsize=13)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlabel("times as fast as keras.optimizers.Adam", fontsize=13)
    axes.set_title("Speed of Adam on two CPU cores", fontsize=14)
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right", fontsize=13)
    return figure
