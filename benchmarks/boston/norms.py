"""The collapse at η = 1e-3 as what the gradient's norm does, and what a clip does."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

import keras_textbook_opt
from benchmarks import figures
from benchmarks.boston.data import Split
from benchmarks.boston.experiments import CLIPNORM
from benchmarks.boston.train import initial_weights, mlp
from keras_textbook_opt.callbacks import OptimizerMonitor

RATE, STEPS = 1e-3, 10
SEEDS = range(5)
FREE, CLIPPED = "no clip", f"clipnorm {CLIPNORM:g}"
COLORS = {FREE: figures.RED, CLIPPED: figures.BLUE}

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
    model.fit(
        *(split.x_train, split.y_train),
        batch_size=len(split.x_train),
        epochs=steps,
        verbose=0,
        callbacks=[monitor],
    )
    return monitor.history["grad_norm"]


def write(split: Split, file: Path, steps: int = STEPS) -> None:
    """Draw the norms on one logarithmic scale, a line for each seed."""
    figure, axes = plt.subplots(figsize=(7, 4))
    for label, runs in norms(split, steps).items():
        at = np.arange(1, steps + 1)
        lines = axes.plot(at, np.transpose(runs), "o-", color=COLORS[label], ms=3)
        lines[0].set_label(label)
    axes.axhline(CLIPNORM, color="black", ls="--", lw=1, label=f"c = {CLIPNORM:g}")
    axes.set(yscale="log", xlabel="step", ylabel="gradient norm, before the clip")
    axes.set_xticks(at)
    axes.set_title(f"Boston housing, full batch, η = {RATE:g}, {len(SEEDS)} seeds")
    axes.legend()
    figures.save(figure, file)
