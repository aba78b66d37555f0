"""The training problem: a kernel, a bias and a table, with gradients of changing size.

A fixed seed makes every run of a check the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Rows(NamedTuple):
    """A sparse gradient: `values[k]` belongs to row `indices[k]`; repeats add up."""

    indices: np.ndarray
    values: np.ndarray

    def dense(self, shape: tuple) -> np.ndarray:
        """The gradient that this stands for."""
        total = np.zeros(shape, self.values.dtype)
        np.add.at(total, self.indices, self.values)
        return total

    def __mul__(self, factor: Any) -> Rows:
        return Rows(self.indices, factor * self.values)


SHAPES = {"kernel": (4, 3), "bias": (3,), "table": (6, 2)}
NAMES = list(SHAPES)
TABLE = NAMES.index("table")
# An optimizer whose first steps are η·sign(g) shows a clip only where sizes change.
SIZES = [1.0, 0.25, 3.0, 0.5, 2.0, 0.125]


def values(shapes: dict[str, tuple] = SHAPES) -> list[np.ndarray]:
    """The initial values: numbers of size 0.5 to 1.5, of both signs."""
    random = np.random.default_rng(1)
    return [
        _array(random.choice([-1, 1], shape) * random.uniform(0.5, 1.5, shape))
        for shape in shapes.values()
    ]


def gradients(
    steps: int = len(SIZES), shapes: dict[str, tuple] = SHAPES
) -> list[list[np.ndarray]]:
    """For each step a gradient of each variable; their sizes change."""
    random = np.random.default_rng(2)
    return [
        [
            _array(SIZES[(t + k) % len(SIZES)] * random.normal(size=shape))
            for k, shape in enumerate(shapes.values())
        ]
        for t in range(steps)
    ]


def with_rows(indices: list[list[int]]) -> list[list]:
    """The same gradients; that of the table has these rows, one list a step."""
    random = np.random.default_rng(3)
    return [
        [*dense[:TABLE], Rows(np.array(named, "int32"), _rows(random, len(named), t))]
        for t, (dense, named) in enumerate(zip(gradients(), indices))
    ]


def _rows(random, count: int, t: int) -> np.ndarray:
    return _array(SIZES[t] * random.normal(size=(count, *SHAPES["table"][1:])))


def scaled(steps: list[list], factor: float) -> list[list]:
    """The same steps with all gradients multiplied."""
    return [[g * np.float32(factor) for g in step] for step in steps]


def each_rows(steps: list[list], changed: Callable[[Rows], Any]) -> list[list]:
    """The same steps, each sparse gradient changed."""
    return [[changed(g) if isinstance(g, Rows) else g for g in step] for step in steps]


def densified(steps: list[list]) -> list[list]:
    """The same steps, each sparse gradient written out."""
    return each_rows(steps, lambda g: g.dense(SHAPES["table"]))


def _array(x) -> np.ndarray:
    return np.asarray(x, "float32")


# In each step some rows repeat and some are absent, not always the same ones.
REPEATED = [[1, 3, 1, 0], [3, 3, 5, 3], [4, 0, 4, 1], [2, 2, 2, 5], [0, 1, 5, 1]]
DISTINCT = [[1, 3, 0], [5, 3, 2], [4, 0, 1], [2, 5, 3], [0, 1, 5]]
EVERY = [[5, 0, 3, 1, 4, 2], [0, 1, 2, 3, 4, 5], [2, 4, 0, 5, 1, 3], [1, 0, 3, 2, 5, 4]]
