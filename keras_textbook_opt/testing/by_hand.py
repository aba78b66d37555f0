"""Keras's features computed in NumPy, to compare with."""

from __future__ import annotations

from typing import Any

import numpy as np

CLIPS: list[dict[str, Any]] = [
    {"clipnorm": 0.5},
    {"clipvalue": 0.2},
    {"global_clipnorm": 0.75},
]


def written(options: dict[str, Any]) -> str:
    """Options as in a call."""
    return ", ".join(f"{name}={value!r}" for name, value in options.items())


def clipped(step: list, clip: dict[str, float]) -> list:
    """The gradients of one step under one of the three clips, in float64."""
    [(name, c)] = clip.items()
    wide = [np.asarray(g, "float64") for g in step]
    if name == "clipvalue":
        return [np.clip(g, -c, c) for g in wide]
    norms = [np.sqrt(np.sum(np.square(g))) for g in wide]
    if name == "global_clipnorm":
        norms = [np.sqrt(np.sum(np.square(norms)))] * len(wide)
    return [g * (c / max(norm, c)) for g, norm in zip(wide, norms)]


def average(averages: list, values: list, momentum: float) -> list:
    """Moving averages after one more step; they start at the values of the first."""
    if not averages:
        return [np.asarray(value, "float64") for value in values]
    return [momentum * a + (1 - momentum) * v for a, v in zip(averages, values)]
