"""The plots, drawn from the rows."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks import figures, rows
from benchmarks.steps import names, peers, plans
from benchmarks.steps.names import BUILTIN, EXACT, FLOOR, LAZY, OURS
from benchmarks.steps.optimizers import CLIPNORM, MAIN, titled
from benchmarks.steps.peers import FOREACH, FUSED, LEGACY, OPTAX
from benchmarks.steps.plans import BACKENDS, DENSE, TENSORFLOW
from benchmarks.steps.sizes import ONE

# How a subject is drawn.
STYLES: Mapping[str, tuple[str, str]] = {
    OURS: (figures.BLUE, "o"),
    EXACT: (figures.BLUE, "o"),
    BUILTIN: (figures.ORANGE, "s"),
    LAZY: (figures.GREEN, "o"),
    FUSED: (figures.RED, "x"),
    FOREACH: (figures.PINK, "+"),
    OPTAX: (figures.GREEN, "^"),
    LEGACY: (figures.SKY, "v"),
    peers.SPARSE_ADAM: (figures.RED, "x"),
}
TITLES = {
    TENSORFLOW: "TensorFlow, graph",
    f"{TENSORFLOW}, jit_compile": "TensorFlow, jit_compile",
    plans.JAX: "JAX, jitted",
    plans.TORCH: "PyTorch, eager",
}
SHOWN = [titled(it.name, option) for it in MAIN for option in ("", CLIPNORM)]
FLOOR_TEXT = "floor: what memory allows"
HALF = 0.4
# From here on there is no room for more than the powers of ten.
WIDE = 300


def write(found: pd.DataFrame, folder: Path) -> list[str]:
    """Write the plots that the rows allow, and return their file names."""
    written = []
    for name, draw in PLOTS.items():
        figure = draw(found)
        if figure:
            figures.save(figure, folder / f"{name}.png")
            written.append(f"{name}.png")
    return written


def dense(found: pd.DataFrame) -> Figure | None:
    """Draw the README's chart: the main steps of 20 million parameters, everywhere."""
    its_rows = rows.find(found, part=DENSE)
    sizes = list(its_rows["size"].unique())
    if not sizes:
        return None
    size = ONE if ONE in sizes else sizes[0]
    main = its_rows[its_rows["case"].isin(SHOWN) & (its_rows["size"] == size)]
    panels = {
        title: rows.find(main, backend=backend)
        for backend, title in TITLES.items()
        if backend in set(main["backend"])
    }
    title = f"One step over {size} float32: medians"
    return _panels(panels, title, sharex=True)


def of_backend(backend: str, found: pd.DataFrame) -> Figure | None:
    """Draw all dense steps on a backend, a panel for each size."""
    its_rows = rows.find(found, part=DENSE, backend=backend)
    panels = {str(it): rows.find(its_rows, size=it) for it in its_rows["size"].unique()}
    title = f"One step on {TITLES[backend]}: medians"
    return _panels(panels, title) if panels else None


def sparse(found: pd.DataFrame) -> Figure | None:
    """Draw the time of a step against the size of the table."""
    its_rows = rows.find(found, part=plans.SPARSE, unit=names.MILLISECONDS)
    by_size = its_rows[its_rows["case"].isin([it.name for it in MAIN])]
    cases = list(by_size["case"].unique())
    if not cases:
        return None
    figure, panels = plt.subplots(
        1, len(cases), figsize=(12, 4.6), sharey=True, squeeze=False
    )
    for axes, case in zip(panels[0], cases):
        of_case = rows.find(by_size, case=case)
        for subject in of_case["subject"].unique():
            _line(axes, subject, rows.find(of_case, subject=subject))
        axes.set(title=case, xscale="log", yscale="log")
        axes.set_xlabel(f"rows of the table, each of {plans.TABLE_WIDTH} float32")
    panels[0, 0].set_ylabel("milliseconds a step")
    figures.legend_below(figure, 4)
    figure.suptitle(
        "One step by some rows, against the size of their table: median and quartiles"
    )
    return figure


def _panels(
    panels: Mapping[str, pd.DataFrame], title: str, sharex: bool = False
) -> Figure:
    """Draw one or two panels in a line, as points on a logarithmic scale."""
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    most = max(it["case"].nunique() for it in panels.values())
    size = (12, 1 + down * (1 + 0.27 * most))
    figure, grid = plt.subplots(
        down, across, figsize=size, squeeze=False, sharex=sharex
    )
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes, (name, found) in zip(grid.flat, panels.items()):
        _points(axes, found)
        axes.set(title=name, xlabel="milliseconds a step", xscale="log")
        lower, upper = axes.get_xlim()
        subs = (1, 2, 5) if upper < WIDE * lower else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=subs))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    figures.legend_below(figure, 4)
    figure.suptitle(title)
    return figure


def _points(axes: Axes, found: pd.DataFrame) -> None:
    """A line for each case, its subjects on it, and a bar where memory ends."""
    cases = list(found["case"].unique())
    for subject, (color, marker) in STYLES.items():
        of_subject = rows.find(found, subject=subject, quantile=0.5)
        axes.scatter(
            of_subject["value"],
            of_subject["case"].map(cases.index),
            s=70 if subject == OURS else 40,
            color=color,
            marker=marker,
            label=subject if len(of_subject) else "",
            zorder=3 if subject == OURS else 2,
        )
    floors = rows.find(found, subject=FLOOR)
    places = floors["case"].map(cases.index)
    axes.vlines(
        floors["value"],
        places - HALF,
        places + HALF,
        color=figures.BLACK,
        linewidth=2,
        label=FLOOR_TEXT if len(floors) else "",
    )
    axes.set_yticks(range(len(cases)), cases)
    axes.invert_yaxis()


def _line(axes: Axes, subject: str, found: pd.DataFrame) -> None:
    table = found.pivot_table(index="size", columns="quantile", values="value")
    table.index = table.index.map(plans.rows_of)
    table = table.sort_index()
    if subject == FLOOR:
        floor = table[names.BEST]
        label = f"{FLOOR_TEXT} to the whole table"
        axes.plot(table.index, floor, ":", color=figures.BLACK, label=label)
        return
    color, marker = STYLES[subject]
    label = f"ours, {subject}" if subject in (EXACT, LAZY) else subject
    axes.plot(table.index, table[0.5], color=color, marker=marker, label=label)
    axes.fill_between(table.index, table[0.25], table[0.75], color=color, alpha=0.25)


PLOTS: Mapping[str, Callable[[pd.DataFrame], Figure | None]] = {
    "dense": dense,
    "sparse": sparse,
    **{backend: partial(of_backend, backend) for backend in BACKENDS},
}
