"""The plots, drawn from the results as they are in JSON."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.steps.figures import (
    BUILTIN,
    EXACT,
    GRAPH,
    LAZY,
    OURS,
    XLA,
    Measurement,
    Part,
    Results,
    contenders,
)
from benchmarks.steps.optimizers import PAIRS
from benchmarks.steps.plans import TABLE_WIDTH, rows_of
from benchmarks.steps.report import PLANS

COLORS = {
    OURS: "tab:blue",
    EXACT: "tab:blue",
    LAZY: "tab:green",
    BUILTIN: "tab:orange",
    "torch.optim, fused": "tab:green",
    "torch.optim, foreach": "tab:red",
    "optax": "tab:green",
}
MARKERS = {OURS: "o", BUILTIN: "s"}
MODE_TITLES = {GRAPH: "graph", XLA: "jit_compile=True"}
FLOOR = "floor: bytes to move ÷ bandwidth"
BAR = 0.38

Draw = Callable[[Part], Figure]


def names(results: Results) -> list[str]:
    """Return the file names of the plots that the results allow."""
    return [name for name, part, _ in _plots() if _is_measured(results, part)]


def write(results: Results, folder: Path) -> None:
    """Write these plots into the folder."""
    for name, part, draw in _plots():
        if _is_measured(results, part):
            figure = draw(results.parts[part])
            figure.savefig(folder / name, dpi=110)
            plt.close(figure)


def _is_measured(results: Results, part: str) -> bool:
    return part in results.parts and bool(results.parts[part].measurements)


def _plots() -> Sequence[tuple[str, str, Draw]]:
    return (
        ("dense.png", "dense", _dense),
        ("sparse.png", "sparse", _sparse),
        ("jax.png", "jax", partial(_elsewhere, "JAX")),
        ("torch.png", "torch", partial(_elsewhere, "PyTorch")),
    )


def _dense(part: Part) -> Figure:
    layout = part.measurements[0].case
    figure, panels = plt.subplots(1, 2, figsize=(13, 6.5), layout="constrained")
    for axes, mode in zip(panels, (GRAPH, XLA)):
        measurements = [
            each
            for each in part.measurements
            if each.case == layout and each.mode == mode
        ]
        _draw_bars(axes, part, measurements)
        axes.set(title=MODE_TITLES[mode], xlabel="milliseconds a step")
    panels[1].sharex(panels[0])
    panels[0].autoscale(axis="x")
    _legend(figure, panels[0])
    figure.suptitle(f"One step over {layout} (float32): median and quartiles")
    return figure


def _elsewhere(backend: str, part: Part) -> Figure:
    cases = list(dict.fromkeys(each.case for each in part.measurements))
    figure, panels = plt.subplots(
        1, len(cases), figsize=(13, 6.5), layout="constrained", squeeze=False
    )
    for axes, case in zip(panels[0], cases):
        measurements = [each for each in part.measurements if each.case == case]
        _draw_points(axes, part, measurements)
        axes.set(title=case, xlabel="milliseconds a step", xscale="log")
    _legend(figure, panels[0, 0])
    figure.suptitle(f"One step on {backend} (float32): medians")
    return figure


def _draw_points(axes: Axes, part: Part, measurements: Sequence[Measurement]) -> None:
    places = np.arange(len(measurements))
    for contender in contenders(measurements):
        found = [each.values.get(contender) for each in measurements]
        axes.plot(
            [np.nan if each is None else each.median for each in found],
            places,
            marker=MARKERS.get(contender, "x"),
            color=COLORS.get(contender),
            linestyle="none",
            markersize=8,
            label=contender,
        )
    _draw_floors(axes, part, measurements)
    axes.grid(axis="x", which="both", alpha=0.3)


def _draw_bars(axes: Axes, part: Part, measurements: Sequence[Measurement]) -> None:
    places = np.arange(len(measurements))
    for offset, contender in ((-BAR / 2, OURS), (BAR / 2, BUILTIN)):
        spreads = [each.values[contender] for each in measurements]
        medians = np.array([spread.median for spread in spreads])
        lower = medians - [spread.lower for spread in spreads]
        upper = [spread.upper for spread in spreads] - medians
        axes.barh(
            places + offset,
            medians,
            BAR,
            xerr=np.stack([lower, upper]),
            color=COLORS[contender],
            error_kw={"elinewidth": 1, "ecolor": "black"},
            label=contender,
        )
    _draw_floors(axes, part, measurements)
    axes.grid(axis="x", alpha=0.3)


def _draw_floors(axes: Axes, part: Part, measurements: Sequence[Measurement]) -> None:
    """A line for each measurement, and its optimizer's name beside it."""
    places = np.arange(len(measurements))
    floors = [part.floor(each, OURS) or 0.0 for each in measurements]
    axes.vlines(
        floors, places - BAR, places + BAR, color="black", linewidth=2, label=FLOOR
    )
    axes.set_yticks(places, [each.optimizer for each in measurements])
    axes.invert_yaxis()


def _sparse(part: Part) -> Figure:
    plan = PLANS[part.plan]
    figure, panels = plt.subplots(
        1, len(PAIRS), figsize=(13, 4.8), layout="constrained", sharey=True
    )
    for axes, pair in zip(panels, PAIRS):
        measurements = [
            each
            for each in part.measurements
            if each.optimizer == pair.name and BUILTIN in each.values
        ]
        _draw_lines(axes, part, measurements)
        axes.set(title=pair.name, xscale="log", yscale="log")
        axes.set(xlabel=f"rows of the table, each of {TABLE_WIDTH} float32")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("milliseconds a step")
    _legend(figure, panels[-1])
    figure.suptitle(
        f"One step with {plan.touched:,} looked-up rows against the size of the table: "
        "median and quartiles. SGD has one sparse meaning, drawn as exact."
    )
    return figure


def _draw_lines(axes: Axes, part: Part, measurements: Sequence[Measurement]) -> None:
    rows = [rows_of(each.case) for each in measurements]
    for contender in measurements[0].values:
        spreads = [each.values[contender] for each in measurements]
        axes.plot(
            rows,
            [spread.median for spread in spreads],
            color=COLORS[contender],
            marker="o",
            label=contender if contender == BUILTIN else f"ours, {contender}",
        )
        axes.fill_between(
            rows,
            [spread.lower for spread in spreads],
            [spread.upper for spread in spreads],
            color=COLORS[contender],
            alpha=0.25,
        )
    if EXACT in measurements[0].values:
        floors = [part.floor(each, EXACT) or np.nan for each in measurements]
        axes.plot(rows, floors, color="black", linestyle=":", label=f"{FLOOR} (exact)")


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
