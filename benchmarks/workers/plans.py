"""What is measured: a step on a table, by its gradient and its optimizer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.rows import Row

OURS = "Adam"
CONTENDERS = (
    OURS,
    f"{OURS}, clipped",
    f"{OURS}, repeats sent",
    "keras.optimizers.Adam",
    "keras.optimizers.Adam, clipped",
)
DENSE, LAZY, EXACT = GRADIENTS = ("dense", "lazy", "exact")
# Of each table, and of each worker in a step of a stream.
WIDTH, LOOKUPS = 16, 1_024
# Of each case: how many steps are counted, after how many that are not.
STEPS, WARM_UP = 20, 3


@dataclass(frozen=True)
class Case:
    """A step of a contender on one table.

    Args:
        gradient: Of all rows, or of those that are looked up.
        touched: How many each worker looks up: different ones, the same in each step.
        exponent: With one, `s`, they are drawn, row `k` in proportion to `k⁻ˢ`.
    """

    gradient: str
    rows: int
    touched: int
    contender: str = OURS
    exponent: float | None = None

    @property
    def name(self) -> str:
        if self.exponent is None:
            return self.gradient
        return f"Zipf, s = {self.exponent:g}" if self.exponent else "uniform"

    def row(self, workers: int, sent: int) -> Row:
        """Return the row of what so many workers have sent."""
        size = f"{self.touched} of {self.rows}×{WIDTH}"
        where = f"{workers} workers", self.name, self.contender, "tensorflow", size
        return Row(*where, 0.5, float(sent), "bytes")

    def ids(self, worker: int) -> np.ndarray:
        """Return the rows that a worker looks up, a line for each step."""
        shape = WARM_UP + STEPS, self.touched
        if self.exponent is None:
            random = np.random.default_rng([worker, self.touched])
            return np.broadcast_to(random.permutation(self.rows)[: shape[1]], shape)
        random = np.random.default_rng([worker, int(10 * self.exponent)])
        weights = np.arange(1.0, self.rows + 1) ** -self.exponent
        return random.choice(self.rows, shape, p=weights / weights.sum())

    def different(self, workers: int) -> float:
        """Return how many different rows a worker looks up in a step, in the mean."""
        ids = np.concatenate([self.ids(worker) for worker in range(workers)])
        return float(np.mean([len(np.unique(of_step)) for of_step in ids]))


@dataclass(frozen=True)
class Plan:
    """Steps of each case, and with the first number of workers of each stream."""

    name: str
    workers: Sequence[int]
    cases: Sequence[Case]
    streams: Sequence[Case]

    def of(self, workers: int) -> list[Case]:
        """Return what so many workers do."""
        return [*self.cases, *(self.streams if workers == self.workers[0] else [])]


def streams(rows: int, *exponents: float) -> list[Case]:
    """Return streams of lookups in a table, for each contender."""
    return [
        Case(LAZY, rows, LOOKUPS, contender, exponent)
        for exponent in exponents
        for contender in CONTENDERS
    ]


FULL = Plan(
    "full",
    workers=(2, 3, 4),
    cases=[
        *(Case(DENSE, rows, rows) for rows in (100, 1_000, 10_000, 100_000)),
        *(Case(LAZY, 10_000, touched) for touched in (64, 512, 4_096, 8_192)),
        Case(EXACT, 10_000, 512),
    ],
    streams=streams(100_000, 0.0, 1.0, 1.5),
)
QUICK = Plan(
    "quick",
    workers=(2, 3),
    cases=[Case(DENSE, 1_000, 1_000), Case(LAZY, 1_000, 512), Case(EXACT, 1_000, 64)],
    streams=streams(1_000, 1.0),
)
PLANS = {plan.name: plan for plan in (FULL, QUICK)}
