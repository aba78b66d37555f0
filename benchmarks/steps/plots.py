"""The plots, drawn from the rows."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks import figures, rows
from benchmarks.steps.contender import BEST, FLOOR, MILLISECONDS
from benchmarks.steps.optimizers import BUILTIN, EXACT, LAZY, MAIN, OURS, PLAIN, Case
from benchmarks.steps.peers import FOREACH, FUSED, LEGACY, OPTAX, SPARSE_ADAM
from benchmarks.steps.plans import BACKENDS, DENSE, SPARSE
from benchmarks.steps.sizes import ONE, TABLE_WIDTH, rows_of

# How a subject is drawn.
STYLES: Mapping[str, Mapping[str, Any]] = {
    OURS: {"color": figures.BLUE, "marker": "o"},
    EXACT: {"color": figures.BLUE, "marker": "o", "label": "ours, exact"},
    BUILTIN: {"color": figures.ORANGE, "marker": "s"},
    LAZY: {"color": figures.GREEN, "marker": "o", "label": "ours, lazy"},
    FUSED: {"color": figures.RED, "marker": "x"},
    FOREACH: {"color": figures.PINK, "marker": "+"},
    OPTAX: {"color": figures.GREEN, "marker": "^"},
    LEGACY: {"color": figures.SKY, "marker": "v"},
    SPARSE_ADAM: {"color": figures.RED, "marker": "x"},
    FLOOR: {"color": figures.BLACK, "label": "floor: what memory allows"},
}
TITLES = {
    "tensorflow": "TensorFlow, graph",
    "tensorflow, jit_compile": "TensorFlow, jit_compile",
    "jax": "JAX, jitted",
    "torch": "PyTorch, eager",
}
# Where there is a line for each case.
POINT = {"linestyle": "", "markersize": 7, "markeredgewidth": 1.5}
PROMINENT: Mapping[str, Mapping[str, Any]] = {
    OURS: {"markersize": 9, "zorder": 3},
    FLOOR: {"marker": "|", "markersize": 14, "markeredgewidth": 2},
}
# From here on there is no room for more than the powers of ten.
WIDE = 300


def write(found: pd.DataFrame, folder: Path) -> list[str]:
    """Write the plots that the rows allow, and return their file names."""
    written = []
    for name, figure in _figures(rows.find(found, unit=MILLISECONDS)):
        figures.save(figure, folder / f"{name}.png")
        written.append(f"{name}.png")
    return written


def _figures(found: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    dense = rows.find(found, part=DENSE)
    sizes = list(dense["size"].unique())
    if sizes:
        size = ONE if ONE in sizes else sizes[0]
        main = [Case(it, option).name for it in MAIN for option in (PLAIN, "clipnorm")]
        shown = dense[dense["case"].isin(main) & (dense["size"] == size)]
        title = f"One step over {size} float32: medians"
        yield "dense", _points(shown, "backend", title, sharex=True)
    by_rows = rows.find(found, part=SPARSE)
    by_rows = by_rows[by_rows["case"].isin([it.name for it in MAIN])]
    if len(by_rows):
        yield "sparse", _lines(by_rows)
    for backend in BACKENDS:
        its_rows = rows.find(dense, backend=backend)
        if len(its_rows):
            title = f"One step on {TITLES[backend]}: medians"
            yield backend, _points(its_rows, "size", title)


def _points(found: pd.DataFrame, by: str, title: str, sharex: bool = False) -> Figure:
    """Draw a line for each case, its subjects on it, and a bar where memory ends."""
    panels = {str(name): its_rows for name, its_rows in found.groupby(by, sort=False)}
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    most = max(it["case"].nunique() for it in panels.values())
    size = (12, 1 + down * (1 + 0.27 * most))
    figure, grid = plt.subplots(
        down, across, figsize=size, squeeze=False, sharex=sharex
    )
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes, (name, its_rows) in zip(grid.flat, panels.items()):
        middle = its_rows[its_rows["quantile"].isin([0.5, BEST])]
        table = middle.pivot(index="case", columns="subject", values="value")
        table = table.reindex(its_rows["case"].unique())
        for subject, style in STYLES.items():
            if subject in table:
                look = {
                    "label": subject,
                    **style,
                    **POINT,
                    **PROMINENT.get(subject, {}),
                }
                axes.plot(table[subject], table.index, **look)
        axes.set_ylim(len(table) - 0.5, -0.5)
        axes.set(title=TITLES.get(name, name), xlabel="milliseconds a step")
        _logarithmic(axes)
    figures.legend_below(figure, 4)
    figure.suptitle(title)
    return figure


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    lower, upper = axes.get_xlim()
    subs = (1, 2, 5) if upper < WIDE * lower else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _lines(found: pd.DataFrame) -> Figure:
    """Draw the time of a step against the size of the table, and its quartiles."""
    panels = found.assign(size=found["size"].map(rows_of)).groupby("case", sort=False)
    figure, grid = plt.subplots(
        1, len(panels), figsize=(12, 4.6), sharey=True, squeeze=False
    )
    for axes, (name, its_rows) in zip(grid.flat, panels):
        for subject, of_subject in its_rows.groupby("subject", sort=False):
            style = {"label": subject, **STYLES[str(subject)]}
            table = of_subject.pivot(index="size", columns="quantile", values="value")
            if subject == FLOOR:
                style |= {"label": f"{style['label']} to the whole table", "ls": ":"}
            else:
                between = (table.index, table[0.25], table[0.75])
                axes.fill_between(*between, color=style["color"], alpha=0.25)
            axes.plot(table.get(0.5, table.get(BEST)), **style)
        axes.set(title=name, xscale="log", yscale="log")
        axes.set_xlabel(f"rows of the table, each of {TABLE_WIDTH} float32")
    grid[0, 0].set_ylabel("milliseconds a step")
    figures.legend_below(figure, 4)
    figure.suptitle(
        "One step by some rows, against the size of their table: median and quartiles"
    )
    return figure
