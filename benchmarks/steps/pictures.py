"""The pictures: whole training steps, the update alone, embeddings, the README's."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from benchmarks import figures, rows
from benchmarks.figures import BACKENDS, WIDTH
from benchmarks.steps.cases import BUILTIN, CLIPPED, LAZY, MAIN, OURS
from benchmarks.steps.plans import BACKENDS as NAMES
from benchmarks.steps.plans import MLP, MODELS
from benchmarks.steps.sizes import CHAPTER, ODD, ONE, RESNET50, SMALL, rows_of

# The lists of variables, as they are called in a picture.
LISTS = {
    ONE: "20 million",
    RESNET50: "ResNet50",
    SMALL: "200 of 64×64",
    ODD: "120 small ones",
    CHAPTER: CHAPTER,
}
TICKS = [0.25, 0.5, 1, 2, 4, 8, 16]
FINE_TICKS = [0.5, 0.6, 0.8, 1, 1.25, 1.5, 2, 3]
PANELS = (*MAIN, f"Adam{CLIPPED}")
LINES: dict[str, dict[str, Any]] = {
    BUILTIN: {"color": figures.GREY, "label": "keras.optimizers.Adam"},
    OURS: {"color": figures.BLUE, "label": "ours, exact"},
    LAZY: {"color": figures.SKY, "label": "ours, lazy"},
}
# Of the README's picture: what, size and case.
BARS = {
    "Update of\n20 million\nparameters": ("update", ONE, "Adam"),
    "The same\nwith clipnorm": ("update", ONE, f"Adam{CLIPPED}"),
    "Training step\n(fit) of an MLP": ("fit", MLP, "Adam"),
}


def write(found: pd.DataFrame, folder: Path) -> list[str]:
    """Draw the pictures whose rows there are, and return their file names."""
    found = found[found["cores"] == found["cores"].max()]
    fit, update = rows.find(found, what="fit"), rows.find(found, what="update")
    update = update[update["size"].isin(LISTS)]
    tables = rows.find(found, part="embeddings", what="update", case="Adam")
    drawn = {}
    if len(fit):
        drawn["models.png"] = _panels(fit, MODELS, "A whole training step (fit)")
    if len(update):
        drawn["update.png"] = _panels(update, LISTS, "The update alone")
    if len(tables):
        drawn["sparse.png"] = _tables(tables)
    there = {*zip(found["what"], found["size"], found["case"])}
    if bars := {title: names for title, names in BARS.items() if names in there}:
        drawn["speedup.png"] = _bars(found, bars)
    for name, figure in drawn.items():
        figures.save(figure, folder / name)
    return list(drawn)


def _panels(found: pd.DataFrame, known: Iterable[str], title: str) -> Any:
    """Draw a panel for each case, a line for each size, a dot for each contender."""
    measured = rows.find(found, other=BUILTIN)
    cases = [each for each in PANELS if each in set(measured["case"])]
    its_rows = [rows.find(measured, case=case) for case in cases]
    sizes = [[each for each in known if each in set(r["size"])] for r in its_rows]
    heights = [0.5 + 0.25 * len(each) for each in sizes]
    shared: dict[str, Any] = {"sharex": True, "squeeze": False}
    shared |= {"height_ratios": heights, "figsize": (WIDTH, 1.3 + sum(heights))}
    figure, grid = plt.subplots(len(cases), **shared)
    for axes, case, of_case, its_sizes in zip(grid.flat, cases, its_rows, sizes):
        _dots(axes, of_case, its_sizes)
        axes.set_title(case.replace(CLIPPED, " with clipnorm"))
    is_narrow = measured["ratio"].max() < 4 * measured["ratio"].min()
    axes.xaxis.set_major_locator(FixedLocator(FINE_TICKS if is_narrow else TICKS))
    axes.set_xlabel("times as fast as keras.optimizers")
    figures.legend_below(figure)
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
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}×")
    axes.set_yticks(range(len(sizes)), [LISTS.get(it, it) for it in sizes])
    axes.set_ylim(len(sizes) - 0.5, -0.5)


def _tables(found: pd.DataFrame) -> Any:
    """Draw the time of a step against the size of the table."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
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
    axes.set_title("Adam on an embedding table, 1,024 rows a step")
    axes.legend()
    return figure


def _bars(found: pd.DataFrame, groups: Mapping[str, tuple]) -> Any:
    """Draw the README's picture: Adam on each backend, in three situations."""
    figure, axes = plt.subplots(figsize=(WIDTH, 1.2 + 0.7 * len(groups)))
    for place, backend in enumerate(NAMES):
        name, color = BACKENDS[backend]
        its_rows = rows.find(found, backend=backend, subject=OURS, other=BUILTIN)
        by_names = its_rows.set_index(["what", "size", "case"])["ratio"]
        ratios = [by_names.get(names, 0.0) for names in groups.values()]
        at = [group + 0.27 * (place - 1) for group in range(len(groups))]
        bars = axes.barh(at, ratios, 0.25, color=color, label=name)
        axes.bar_label(bars, fmt=" %.2g×")
    axes.axvline(1, color="black", lw=1)
    axes.set_yticks(range(len(groups)), list(groups))
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlabel("times as fast as keras.optimizers.Adam")
    axes.set_title("Speed of Adam on two CPU cores")
    axes.grid(axis="y", visible=False)
    figures.legend_below(figure, 3)
    return figure
