"""The chapter's plots, ours and the built-in in one picture."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks import curves, figures
from benchmarks.boston.experiments import OTHERS, SWEEP, Experiment
from benchmarks.boston.measure import TEST_CURVE, TRAINING_CURVE
from benchmarks.figures import BUILTIN, OURS
from benchmarks.rows import find

# The experiments of a plot, and its columns.
PLOTS = {"learning_rates.png": (SWEEP, 4), "optimizers.png": (OTHERS, 3)}
CURVES = {
    TRAINING_CURVE: ("training loss", figures.ORANGE, ":"),
    TEST_CURVE: ("test loss", figures.BLUE, "--"),
}


def write(found: pd.DataFrame, folder: Path) -> list[str]:
    """Draw the plots whose curves there are, and return those in the folder."""
    measured = set(found[found["case"].isin(CURVES)]["part"])
    for name, (experiments, columns) in PLOTS.items():
        if drawn := [each for each in experiments if each.name in measured]:
            _draw(found, drawn, columns, folder / name)
    return [name for name in PLOTS if (folder / name).exists()]


def _draw(
    found: pd.DataFrame, experiments: Sequence[Experiment], columns: int, file: Path
) -> None:
    lines = -(-len(experiments) // columns)
    size = 4.2 * columns, 3.4 * lines + 1
    figure = plt.figure(figsize=size)
    for place, experiment in enumerate(experiments, 1):
        panel = figure.add_subplot(lines, columns, place)
        _draw_losses(panel, find(found, part=experiment.name), experiment)
    figures.legend_below(figure)
    figure.suptitle("Loss along the run: median and range over the seeds")
    figures.save(figure, file)


def _draw_losses(axes: Axes, found: pd.DataFrame, experiment: Experiment) -> None:
    for case, (label, color, style) in CURVES.items():
        builtin, ours = (find(found, case=case, subject=it) for it in (BUILTIN, OURS))
        below, above = f"{label}, {BUILTIN}", f"{label}, {OURS}"
        curves.draw(axes, builtin, label=below, color=color, alpha=0.45, lw=5)
        curves.draw(
            axes, ours, band=color, label=above, color="black", lw=0.8, ls=style
        )
    label = "the chapter's smallest test loss"
    axes.axhline(experiment.chapter, color=figures.GREEN, linewidth=1, label=label)
    axes.set(xscale="log", yscale="log", xlabel="epochs", ylabel="loss in (1000 $)²")
    axes.set_title(textwrap.fill(experiment.title.replace(" = ", "\u00a0=\u00a0"), 40))
