"""The collapse at η = 1e-3 as what the gradient's norm does, and what a clip does."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

import keras_textbook_opt
from benchmarks import figures
from benchmarks.boston.data import shipped
from benchmarks.boston.train import mlp
from benchmarks.training import initial_weights
from keras_textbook_opt.callbacks import OptimizerMonitor

RATE, CLIPNORM = 1e-3, 2.0
SEEDS = range(5)


def norms(seed: int, steps: int, **clip: Any) -> list[float]:
    """Return the norm before each of the first steps."""
    split = shipped()
    model, monitor = mlp(), OptimizerMonitor()
    model.set_weights(initial_weights(mlp, seed))
    model.compile(keras_textbook_opt.SGD(RATE, **clip), "mse", jit_compile=False)
    model.fit(
        *(split.x_train, split.y_train),
        batch_size=len(split.x_train),
        epochs=steps,
        verbose=0,
        callbacks=[monitor],
    )
    return monitor.history["grad_norm"]


def write(file: Path, steps: int = 10) -> None:
    """Draw the norms on one logarithmic scale, a line for each seed."""
    figure, axes = plt.subplots(figsize=(7, 4))
    at = np.arange(1, steps + 1)
    for color, clip in ((figures.RED, {}), (figures.BLUE, {"clipnorm": CLIPNORM})):
        runs = [norms(seed, steps, **clip) for seed in SEEDS]
        lines = axes.plot(at, np.transpose(runs), "o-", color=color, ms=3)
        lines[0].set_label(f"clipnorm {CLIPNORM:g}" if clip else "no clip")
    axes.axhline(CLIPNORM, color="black", ls="--", lw=1, label=f"c = {CLIPNORM:g}")
    axes.set(yscale="log", xlabel="step", ylabel="gradient norm, before the clip")
    axes.set_xticks(at)
    axes.set_title(f"Boston housing, full batch, η = {RATE:g}, {len(SEEDS)} seeds")
    axes.legend()
    figures.save(figure, file)
