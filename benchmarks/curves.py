"""Losses along the epochs, over the seeds: as rows, and drawn from them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from benchmarks import rows
from benchmarks.rows import Row
from benchmarks.training import Array

BACKEND = "tensorflow"


def figure(
    part: str, case: str, subject: str, value: float, size: str = "", unit: str = ""
) -> Row:
    """Return the row of a figure that is not along the epochs."""
    return Row(part, case, subject, BACKEND, size, 0.5, float(value), unit)


def of_losses(losses: Sequence[Array], epochs: Array, **names: str) -> Iterator[Row]:
    """Yield the smallest, the median and the largest loss of some epochs.

    Args:
        losses: Of each seed, by epoch.
        epochs: The numbers of the epochs to keep, rounded here; the first is 1.
        **names: The other fields of the rows.
    """
    for epoch in np.unique(epochs.round().astype(int)):
        of_seeds = [of_seed[epoch - 1] for of_seed in losses]
        size = f"epoch {epoch}"
        yield from rows.extremes(of_seeds, size=size, backend=BACKEND, **names)


def draw(axes: Axes, found: pd.DataFrame, band: str = "", **style: Any) -> None:
    """Draw a line of the medians, and with a colour a band of all the seeds."""
    epochs = found["size"].str.removeprefix("epoch ").astype(int)
    curve = found.assign(epoch=epochs).pivot(
        index="epoch", columns="quantile", values="value"
    )
    axes.plot(curve[0.5], marker="o" if len(curve) == 1 else None, **style)
    if band:
        axes.fill_between(curve.index, curve[0.0], curve[1.0], color=band, alpha=0.15)
