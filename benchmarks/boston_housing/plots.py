"""The chapter's plots, ours and the built-in in one picture."""

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.boston_housing.compare import relative_differences
from benchmarks.boston_housing.experiments import OTHERS, SWEEP, Experiment
from benchmarks.boston_housing.runs import ExperimentRuns, SeedRuns
from benchmarks.boston_housing.train import Run

SMALLEST_DIFFERENCE = 1e-9
TEST, TRAINING = "tab:blue", "tab:orange"
OURS, ONE_ULP = "tab:red", "tab:gray"
TITLE_WIDTH = 40

Curves = npt.NDArray[np.floating]
Plot = tuple[Callable[[Sequence[ExperimentRuns]], Figure], Sequence[ExperimentRuns]]


def names(experiments: Sequence[ExperimentRuns]) -> list[str]:
    """Return the file names of the plots that the experiments allow."""
    return [name for name, (_, runs) in _plots(experiments).items() if runs]


def write(experiments: Sequence[ExperimentRuns], folder: Path) -> None:
    """Write these plots into the folder, and remove older ones of the others."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (draw, runs) in _plots(experiments).items():
        if not runs:
            (folder / name).unlink(missing_ok=True)
            continue
        figure = draw(runs)
        figure.savefig(folder / name, dpi=110)
        plt.close(figure)


def _plots(experiments: Sequence[ExperimentRuns]) -> dict[str, Plot]:
    return {
        "learning_rates.png": (_losses, _among(experiments, SWEEP)),
        "optimizers.png": (_losses, _among(experiments, OTHERS)),
        "agreement.png": (_agreement, experiments),
    }


def _among(
    runs: Sequence[ExperimentRuns], experiments: Sequence[Experiment]
) -> list[ExperimentRuns]:
    names = {experiment.name for experiment in experiments}
    return [each for each in runs if each.experiment.name in names]


def _losses(experiments: Sequence[ExperimentRuns]) -> Figure:
    figure, panels = _grid(len(experiments))
    for axes, runs in zip(panels, experiments, strict=True):
        _draw_losses(axes, runs)
    _legend(figure, panels[0])
    figure.suptitle("Loss along the run: median and range over the seeds")
    return figure


def _draw_losses(axes: Axes, runs: ExperimentRuns) -> None:
    epochs = np.arange(1, runs.experiment.epochs + 1)
    for losses, color, label in (
        (_training_losses, TRAINING, "training loss"),
        (_test_losses, TEST, "test loss"),
    ):
        ours = np.stack([losses(seed.ours) for seed in runs.seeds])
        builtin = np.stack([losses(seed.builtin) for seed in runs.seeds])
        axes.plot(
            epochs,
            np.median(builtin, axis=0),
            color=color,
            alpha=0.45,
            linewidth=5,
            label=f"{label}, built-in",
        )
        axes.plot(
            epochs,
            np.median(ours, axis=0),
            color="black",
            linewidth=0.8,
            linestyle="--" if losses is _test_losses else ":",
            label=f"{label}, ours",
        )
        axes.fill_between(epochs, ours.min(0), ours.max(0), color=color, alpha=0.15)
    axes.axhline(
        runs.experiment.chapter,
        color="tab:green",
        linewidth=1,
        label="the chapter's smallest test loss",
    )
    axes.set(xscale="log", yscale="log", title=_title(runs.experiment))
    axes.set(xlabel="epochs", ylabel="loss in (1000 $)²")


def _test_losses(run: Run) -> Curves:
    return run.test_losses


def _training_losses(run: Run) -> Curves:
    """Return the mean training loss of each epoch."""
    return run.train_losses.reshape(len(run.test_losses), -1).mean(axis=1)


def _agreement(experiments: Sequence[ExperimentRuns]) -> Figure:
    figure, panels = _grid(len(experiments))
    for axes, runs in zip(panels, experiments, strict=True):
        _draw_agreement(axes, runs)
    _legend(figure, panels[0])
    figure.suptitle(
        "float32: largest relative difference of the training loss so far, from the "
        "built-in:\nmedian and range over the seeds "
        f"(0 drawn at {SMALLEST_DIFFERENCE:g})"
    )
    return figure


def _draw_agreement(axes: Axes, runs: ExperimentRuns) -> None:
    for run, color, label in (
        (_one_ulp_away, ONE_ULP, "built-in one ulp away"),
        (_ours, OURS, "ours"),
    ):
        differences = np.stack([_differences(seed, run) for seed in runs.seeds])
        steps = np.arange(1, differences.shape[1] + 1)
        axes.plot(steps, np.median(differences, axis=0), color=color, label=label)
        axes.fill_between(
            steps, differences.min(0), differences.max(0), color=color, alpha=0.25
        )
    axes.set(xscale="log", yscale="log", ylim=(SMALLEST_DIFFERENCE / 2, 2))
    axes.set(title=_title(runs.experiment))
    axes.set(xlabel="steps", ylabel="relative difference")


def _ours(seed: SeedRuns) -> Run:
    return seed.ours


def _one_ulp_away(seed: SeedRuns) -> Run:
    return seed.builtin_one_ulp_away


def _differences(seed: SeedRuns, run: Callable[[SeedRuns], Run]) -> Curves:
    differences = relative_differences(
        run(seed).train_losses, seed.builtin.train_losses
    )
    return np.maximum.accumulate(np.maximum(differences, SMALLEST_DIFFERENCE))


def _grid(panels: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with one panel for each experiment."""
    columns = 4 if panels > 6 else min(panels, 3)
    rows = -(-panels // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(4.2 * columns, 3.4 * rows + 1),
        layout="constrained",
        squeeze=False,
    )
    flat = list(axes.flat)
    for unused in flat[panels:]:
        unused.set_axis_off()
    return figure, flat[:panels]


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)


def _title(experiment: Experiment) -> str:
    unbroken = experiment.title.replace(" = ", "\u00a0=\u00a0")
    return textwrap.fill(unbroken, TITLE_WIDTH)
