"""The chapter's plots, ours and the built-in in one picture."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks import figures
from benchmarks.boston.experiments import OTHERS, SWEEP, Experiment
from benchmarks.boston.measure import TEST_CURVE, TRAINING_CURVE
from benchmarks.figures import BUILTIN, OURS
from benchmarks.rows import find

PLOTS = {"learning_rates.png": SWEEP, "optimizers.png": OTHERS}
CURVES = {
    TRAINING_CURVE: ("training loss", figures.ORANGE, ":"),
    TEST_CURVE: ("test loss", figures.BLUE, "--"),
}
TITLE_WIDTH = 40


def write(rows: pd.DataFrame, folder: Path) -> list[str]:
    """Draw the plots whose curves there are, and return those in the folder."""
    curves = rows[rows["case"].isin(CURVES)]
    for name, experiments in PLOTS.items():
        drawn = [each for each in experiments if each.name in set(curves["part"])]
        if drawn:
            _draw(curves, drawn, folder / name)
    return [name for name in PLOTS if (folder / name).exists()]


def _draw(curves: pd.DataFrame, experiments: Sequence[Experiment], file: Path) -> None:
    columns = 4 if len(experiments) > 6 else min(len(experiments), 3)
    lines = -(-len(experiments) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(4.2 * columns, 3.4 * lines + 1), squeeze=False
    )
    for panel in axes.flat[len(experiments) :]:
        panel.set_axis_off()
    for panel, experiment in zip(axes.flat, experiments, strict=False):
        _draw_losses(panel, find(curves, part=experiment.name), experiment)
    figures.legend_below(figure)
    figure.suptitle("Loss along the run: median and range over the seeds")
    figures.save(figure, file)


def _draw_losses(axes: Axes, curves: pd.DataFrame, experiment: Experiment) -> None:
    for case, (label, color, style) in CURVES.items():
        builtin, ours = (
            _by_epoch(find(curves, case=case, subject=each)) for each in (BUILTIN, OURS)
        )
        axes.plot(
            builtin[0.5], color=color, alpha=0.45, lw=5, label=f"{label}, {BUILTIN}"
        )
        axes.plot(ours[0.5], color="black", lw=0.8, ls=style, label=f"{label}, {OURS}")
        axes.fill_between(ours.index, ours[0.0], ours[1.0], color=color, alpha=0.15)
    axes.axhline(
        experiment.chapter,
        color=figures.GREEN,
        linewidth=1,
        label="the chapter's smallest test loss",
    )
    unbroken = experiment.title.replace(" = ", "\u00a0=\u00a0")
    axes.set(xscale="log", yscale="log", xlabel="epochs", ylabel="loss in (1000 $)²")
    axes.set_title(textwrap.fill(unbroken, TITLE_WIDTH))


def _by_epoch(curve: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each epoch, a column for each quantile."""
    epochs = curve["size"].str.removeprefix("epoch ").astype(int)
    return curve.assign(epoch=epochs).pivot(
        index="epoch", columns="quantile", values="value"
    )
