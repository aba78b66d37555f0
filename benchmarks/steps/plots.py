"""The plots, drawn from the rows."""

from collections.abc import Callable, Iterator, Mapping
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
    if len(dense):
        size = ONE if ONE in set(dense["size"]) else dense["size"].iloc[0]
        main = [Case(it, option).name for it in MAIN for option in (PLAIN, "clipnorm")]
        shown = dense[dense["case"].isin(main) & (dense["size"] == size)]
        title = f"One step over {size} float32: medians"
        yield "dense", _panels(shown, "backend", _points, title, sharex=True)
    by_rows = rows.find(found, part=SPARSE)
    by_rows = by_rows[by_rows["case"].isin([it.name for it in MAIN])]
    if len(by_rows):
        title = "One step by some rows, against the size of their table: "
        title += "median and quartiles"
        yield "sparse", _panels(by_rows, "case", _lines, title, 3, 10, sharey=True)
    for backend in BACKENDS:
        its_rows = rows.find(dense, backend=backend)
        if len(its_rows):
            title = f"One step on {TITLES[backend]}: medians"
            yield backend, _panels(its_rows, "size", _points, title)


def _panels(
    found: pd.DataFrame,
    by: str,
    draw: Callable[[Axes, pd.DataFrame], None],
    title: str,
    most_across: int = 2,
    least_lines: int = 1,
    **shared: Any,
) -> Figure:
    """Draw the rows of each name in the column `by` into a panel of their own."""
    panels = {str(name): its_rows for name, its_rows in found.groupby(by, sort=False)}
    across = min(most_across, len(panels))
    down = -(-len(panels) // across)
    lines = [least_lines, *(its_rows["case"].nunique() for its_rows in panels.values())]
    size = (12, 1 + down * (1 + 0.27 * max(lines)))
    figure, grid = plt.subplots(down, across, figsize=size, squeeze=False, **shared)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes, (name, its_rows) in zip(grid.flat, panels.items()):
        draw(axes, its_rows)
        axes.set_title(TITLES.get(name, name))
    figures.legend_below(figure, 4)
    figure.suptitle(title)
    return figure


def _points(axes: Axes, found: pd.DataFrame) -> None:
    """Draw a line for each case, its subjects on it, and a bar where memory ends."""
    middle = found[found["quantile"].isin([0.5, BEST])]
    table = middle.pivot(index="case", columns="subject", values="value")
    table = table.reindex(found["case"].unique())
    for subject, style in STYLES.items():
        if subject in table:
            look = {**style, **POINT, **PROMINENT.get(subject, {})}
            axes.plot(table[subject], table.index, **{"label": subject, **look})
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set(xlabel="milliseconds a step", xscale="log")
    lower, upper = axes.get_xlim()
    subs = (1, 2, 5) if upper < WIDE * lower else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _lines(axes: Axes, found: pd.DataFrame) -> None:
    """Draw the time of a step against the size of the table, and its quartiles."""
    by_rows = found.assign(size=found["size"].map(rows_of))
    for subject, of_subject in by_rows.groupby("subject", sort=False):
        style = {"label": subject, **STYLES[str(subject)]}
        table = of_subject.pivot(index="size", columns="quantile", values="value")
        if subject == FLOOR:
            style |= {"label": f"{style['label']} to the whole table", "ls": ":"}
        else:
            between = (table.index, table[0.25], table[0.75])
            axes.fill_between(*between, color=style["color"], alpha=0.25)
        axes.plot(table.get(0.5, table.get(BEST)), **style)
    axes.set(xscale="log", yscale="log", ylabel="milliseconds a step")
    axes.label_outer()
    axes.set_xlabel(f"rows of the table, each of {TABLE_WIDTH} float32")
