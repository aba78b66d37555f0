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
# Of every table, of every worker in a stream, and of every case.
WIDTH, LOOKUPS, WARM_UP = 16, 1_024, 3


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

    def ids(self, worker: int, steps: int) -> np.ndarray:
        """Return the rows that a worker looks up, a line for each step."""
        if self.exponent is None:
            random = np.random.default_rng([worker, self.touched])
            ids = random.permutation(self.rows)[: self.touched]
            return np.tile(ids, (steps, 1))
        random = np.random.default_rng([worker, int(10 * self.exponent)])
        weights = np.arange(1.0, self.rows + 1) ** -self.exponent
        shape = steps, self.touched
        return random.choice(self.rows, shape, p=weights / weights.sum())


@dataclass(frozen=True)
class Plan:
    """Steps of each case, and with the first number of workers of each stream."""

    name: str
    workers: Sequence[int]
    steps: int
    cases: Sequence[Case]
    streams: Sequence[Case]

    def of(self, workers: int) -> list[Case]:
        """Return what so many workers do."""
        return [*self.cases, *(self.streams if workers == self.workers[0] else [])]

    def ids(self, case: Case, worker: int) -> np.ndarray:
        """Return what a worker looks up in the steps to warm up, and in the others."""
        return case.ids(worker, WARM_UP + self.steps)

    def different(self, case: Case) -> float:
        """Return how many different rows a worker looks up in a step, in the mean."""
        streams = [self.ids(case, worker) for worker in range(self.workers[0])]
        return float(np.mean([len(np.unique(ids)) for s in streams for ids in s]))


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
    steps=20,
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
    steps=5,
    cases=[Case(DENSE, 1_000, 1_000), Case(LAZY, 1_000, 512), Case(EXACT, 1_000, 64)],
    streams=streams(1_000, 1.0),
)
PLANS = {plan.name: plan for plan in (FULL, QUICK)}
