"""The collapse at η = 1e-3 as what the gradient's norm does, and what a clip does."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import keras_textbook_opt
from benchmarks.boston_housing.data import Split
from benchmarks.boston_housing.experiments import CLIPNORM
from benchmarks.boston_housing.train import initial_weights, mlp
from keras_textbook_opt.callbacks import OptimizerMonitor

RATE, STEPS = 1e-3, 10
SEEDS = range(5)
FREE, CLIPPED = "no clip", f"clipnorm {CLIPNORM:g}"
COLORS = {FREE: "tab:red", CLIPPED: "tab:blue"}

Norms = dict[str, list[list[float]]]


def norms(split: Split, steps: int = STEPS) -> Norms:
    """Return the norm before each of the first steps, for each seed."""
    return {
        FREE: [_norms(split, seed, steps) for seed in SEEDS],
        CLIPPED: [_norms(split, seed, steps, clipnorm=CLIPNORM) for seed in SEEDS],
    }


def _norms(split: Split, seed: int, steps: int, **clip: float) -> list[float]:
    optimizer: Any = keras_textbook_opt.SGD(RATE, **clip)  # type: ignore[arg-type]
    model, monitor = mlp(), OptimizerMonitor()
    model.set_weights(initial_weights(seed))
    model.compile(optimizer, "mse", jit_compile=False)
    rows = len(split.x_train)
    model.fit(
        *(split.x_train, split.y_train),
        batch_size=rows,
        epochs=steps,
        verbose=0,
        callbacks=[monitor],
    )
    return monitor.history["grad_norm"]


def draw(found: Norms) -> Figure:
    """Return both on one logarithmic scale, a line for each seed."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for label, runs in found.items():
        steps = np.arange(1, len(runs[0]) + 1)
        lines = axes.plot(steps, np.transpose(runs), "o-", color=COLORS[label], ms=3)
        lines[0].set_label(label)
    axes.axhline(
        CLIPNORM, color="black", linestyle="--", lw=1, label=f"c = {CLIPNORM:g}"
    )
    axes.set_yscale("log")
    axes.set_xticks(steps)
    axes.set_xlabel("step")
    axes.set_ylabel("gradient norm, before the clip")
    axes.set_title(f"Boston housing, full batch, η = {RATE:g}, {len(SEEDS)} seeds")
    axes.legend()
    return figure


def write(split: Split, file: Path, steps: int = STEPS) -> Norms:
    """Draw the norms into the file, and return them."""
    found = norms(split, steps)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure = draw(found)
    figure.savefig(file, dpi=90)
    plt.close(figure)
    return found
