"""The pictures: seven learning rates, and the other experiments."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks import figures
from benchmarks.boston.experiments import CURVE, OTHERS, SWEEP, Experiment
from benchmarks.figures import BUILTIN, OURS, WIDTH
from benchmarks.rows import find

PICTURES = {
    "learning_rates.png": (SWEEP, "Gradient descent on Boston housing"),
    "optimizers.png": (OTHERS, "Boston housing: clip, mini-batches, momentum, Adam"),
}


def write(found: pd.DataFrame, folder: Path) -> list[str]:
    """Draw the pictures whose rows there are, and return their file names."""
    measured, drawn = set(found["part"]), []
    for name, (experiments, title) in PICTURES.items():
        if there := [each for each in experiments if each.name in measured]:
            figures.save(_losses(found, there, title), folder / name)
            drawn.append(name)
    return drawn


def _losses(found: pd.DataFrame, experiments: Sequence[Experiment], title: str) -> Any:
    figure, axes = plt.subplots(figsize=(WIDTH, 5.2))
    curves = find(found, case=CURVE)
    for color, experiment in zip(figures.COLORS, experiments):
        its_rows = find(curves, part=experiment.name)
        ours = _along(find(its_rows, subject=OURS))
        _line(axes, ours, color, experiment.title)
        builtin = _along(find(its_rows, subject=BUILTIN))
        axes.plot(builtin["value"], ls=":", color="black", lw=1.2)
    axes.plot([], [], ls=":", color="black", label="keras.optimizers")
    axes.set(xscale="log", yscale="log", xlabel="epochs")
    axes.set_ylabel("test loss in (1000 $)²: median, range of seeds")
    axes.set_title(title)
    figures.legend_below(figure)
    return figure


def _along(found: pd.DataFrame) -> pd.DataFrame:
    """Return the values by the number of the epoch."""
    places = found["size"].str.partition(" ")[2].astype(int)
    return found.set_axis(places).sort_index()


def _line(axes: Axes, found: pd.DataFrame, color: str, label: str) -> None:
    axes.plot(found["value"], color=color, label=label)
    axes.fill_between(found.index, found["low"], found["high"], color=color, alpha=0.1)
