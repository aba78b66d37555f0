"""What is measured: a step on a table, by its gradient and its optimizer."""

from dataclasses import dataclass

import numpy as np

OURS = "Adam"
CONTENDERS = (
    OURS,
    f"{OURS}, clipped",
    f"{OURS}, repeats sent",
    "keras.optimizers.Adam",
    "keras.optimizers.Adam, clipped",
)
DENSE, LAZY, EXACT = "dense", "lazy", "exact"


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
    width: int
    touched: int
    contender: str = OURS
    exponent: float | None = None

    @property
    def size(self) -> str:
        return f"{self.touched} of {self.rows}×{self.width}"

    @property
    def name(self) -> str:
        if self.exponent is None:
            return self.gradient
        return f"Zipf, s = {self.exponent:g}" if self.exponent else "uniform"

    @property
    def label(self) -> str:
        if self.gradient == DENSE:
            return f"dense, {self.rows * self.width:,} parameters"
        return f"{self.touched:,} rows of {self.rows:,}, {self.gradient}"

    def ids(self, worker: int, steps: int) -> np.ndarray:
        """Return the rows that a worker looks up, a line for each step."""
        if self.exponent is None:
            random = np.random.default_rng([worker, self.touched])
            ids = random.permutation(self.rows)[: self.touched]
            return np.tile(ids, (steps, 1)).astype("int32")
        weights = np.arange(1, self.rows + 1, dtype="float64") ** -self.exponent
        random = np.random.default_rng([worker, int(10 * self.exponent)])
        shape = steps, self.touched
        ids = random.choice(self.rows, shape, p=weights / weights.sum())
        return ids.astype("int32")


@dataclass(frozen=True)
class Plan:
    """Gradients of some tables and rows, with each number of workers.

    The streams of lookups are measured with the first number alone.
    """

    name: str
    rows: int
    width: int = 16
    lookups: int = 1_024
    exponents: tuple[float, ...] = (0.0, 1.0, 1.5)
    workers: tuple[int, ...] = (2, 3, 4)
    warm_up: int = 3
    steps: int = 20
    table: int = 10_000
    dense: tuple[int, ...] = (100, 1_000, 10_000, 100_000)
    touched: tuple[int, ...] = (64, 512, 4_096, 8_192)
    exact: int = 512

    def cases(self, workers: int) -> list[Case]:
        """Return what so many workers do."""
        return [
            *(Case(DENSE, rows, self.width, rows) for rows in self.dense),
            *(Case(LAZY, self.table, self.width, rows) for rows in self.touched),
            Case(EXACT, self.table, self.width, self.exact),
            *(self.streams if workers == self.workers[0] else []),
        ]

    @property
    def streams(self) -> list[Case]:
        size = self.rows, self.width, self.lookups
        return [
            Case(LAZY, *size, contender, exponent)
            for exponent in self.exponents
            for contender in CONTENDERS
        ]

    def different(self, case: Case) -> float:
        """Return how many different rows a worker looks up in a step, in the mean."""
        steps = self.warm_up + self.steps
        streams = [case.ids(worker, steps) for worker in range(self.workers[0])]
        return float(np.mean([len(np.unique(ids)) for s in streams for ids in s]))


FULL = Plan("full", rows=100_000)
QUICK = Plan(
    "quick",
    rows=1_000,
    exponents=(1.0,),
    workers=(2, 3),
    steps=5,
    table=1_000,
    dense=(1_000,),
    touched=(512,),
    exact=64,
)
PLANS = {plan.name: plan for plan in (FULL, QUICK)}
