"""What is measured: a table, and streams of lookups in it."""

from dataclasses import dataclass

import numpy as np

CONTENDERS = (
    "Adam",
    "Adam, clipped",
    "Adam, repeats sent",
    "keras.optimizers.Adam",
    "keras.optimizers.Adam, clipped",
)


DENSE, LAZY, EXACT = "dense", "lazy", "exact"


@dataclass(frozen=True)
class Case:
    """A step on one table: of a gradient of all of its rows, or of `touched` rows."""

    gradient: str
    rows: int
    touched: int

    def ids(self, worker: int) -> np.ndarray:
        """The different rows that a worker touches, the same in each step."""
        random = np.random.default_rng([worker, self.touched])
        return random.permutation(self.rows)[: self.touched].astype("int32")


@dataclass(frozen=True)
class Plan:
    """Row `k` is looked up in proportion to `k⁻ˢ`, for each exponent `s`.

    That is measured with the first number of `workers`, the cases with each of them.
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

    @property
    def cases(self) -> tuple[Case, ...]:
        """Dense gradients of some tables, and some rows of one table."""
        return (
            *(Case(DENSE, rows, rows) for rows in self.dense),
            *(Case(LAZY, self.table, touched) for touched in self.touched),
            Case(EXACT, self.table, self.exact),
        )

    def stream(self, exponent: float, worker: int) -> np.ndarray:
        """The rows that a worker looks up, a line for each step."""
        weights = np.arange(1, self.rows + 1, dtype="float64") ** -exponent
        random = np.random.default_rng([worker, int(10 * exponent)])
        shape = self.warm_up + self.steps, self.lookups
        return random.choice(self.rows, shape, p=weights / weights.sum()).astype(
            "int32"
        )

    def distinct(self, exponent: float) -> float:
        """How many different rows a worker looks up in a step, in the mean."""
        streams = [self.stream(exponent, k) for k in range(self.workers[0])]
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
