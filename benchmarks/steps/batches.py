"""Batches of random ids, and gradients of a table by the rows that they look up."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Norms beyond the clips' limit for every size that is measured.
GRADIENT_SCALE = 0.05
POOL = 64


@dataclass(frozen=True)
class Batches:
    """Gradients of one table: in each the ids that a batch looks up, a row for each.

    The first looks up each id once, which is where all optimizers agree.
    """

    rows: int
    width: int
    touched: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.width

    @cached_property
    def ids(self) -> list[np.ndarray]:
        random = np.random.default_rng(0)
        first = random.choice(self.rows, self.touched, replace=False).astype(np.int32)
        return [first, *zipf(self.rows, (POOL - 1, self.touched), random)]

    @cached_property
    def values(self) -> list[np.ndarray]:
        draw = np.random.default_rng(1).standard_normal
        shape = self.touched, self.width
        return [np.float32(GRADIENT_SCALE) * draw(shape, np.float32) for _ in self.ids]

    @cached_property
    def table(self) -> np.ndarray:
        return np.random.default_rng(2).standard_normal(self.shape, np.float32)

    def distinct(self) -> float:
        """Return the share of the rows that a batch touches, the median of all."""
        return float(np.median([len(np.unique(ids)) for ids in self.ids])) / self.rows


def zipf(
    rows: int, shape: tuple[int, ...], generator: np.random.Generator
) -> np.ndarray:
    """Return row numbers, of which the k-th most frequent comes as 1/k.

    The frequent rows lie scattered in the table.
    """
    ranks = np.floor((rows + 1) ** generator.random(shape)).astype(np.int64) - 1
    return generator.permutation(rows)[np.minimum(ranks, rows - 1)].astype(np.int32)
