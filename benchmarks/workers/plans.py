"""What is measured: a step on a table, by its gradient and its optimizer."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.rows import Row

OURS = "Adam"
DENSE, LAZY, EXACT = BY_FORMULA = ("dense", "lazy", "exact")
FEWEST = 2
# Of each table.
WIDTH = 16
# Of each case: how many steps are counted, after how many that are not.
STEPS, WARM_UP = 20, 3


@dataclass(frozen=True)
class Case:
    """A step of an optimizer on one table: a line of `cases.csv`.

    Args:
        most: The largest number of workers that take it.
        name: What the gradient is of, all rows or some; or how these are drawn.
        subject: The optimizer.
        touched: How many rows each worker looks up: without an exponent different
            ones, the same in each step.
        rows: Of the table.
        exponent: With one, `s`, rows are drawn, row `k` in proportion to `k⁻ˢ`.
    """

    most: int
    name: str
    subject: str
    touched: int
    rows: int
    exponent: float

    @property
    def is_stream(self) -> bool:
        return not np.isnan(self.exponent)

    def row(self, workers: int, sent: int) -> Row:
        """Return the row of what so many workers have sent."""
        size = f"{self.touched} of {self.rows}×{WIDTH}"
        where = f"{workers} workers", self.name, self.subject, "tensorflow", size
        return Row(*where, 0.5, float(sent), "bytes")

    def ids(self, worker: int) -> np.ndarray:
        """Return the rows that a worker looks up, a line for each step."""
        shape = WARM_UP + STEPS, self.touched
        if not self.is_stream:
            random = np.random.default_rng([worker, self.touched])
            return np.broadcast_to(random.permutation(self.rows)[: self.touched], shape)
        random = np.random.default_rng([worker, int(10 * self.exponent)])
        weights = np.arange(1.0, self.rows + 1) ** -self.exponent
        return random.choice(self.rows, shape, p=weights / weights.sum())

    def different(self) -> float:
        """Return how many different rows a worker looks up in a step, in the mean."""
        ids = np.concatenate([self.ids(worker) for worker in range(FEWEST)])
        return float(np.mean([len(np.unique(of_step)) for of_step in ids]))


@dataclass(frozen=True)
class Plan:
    """The cases of each number of workers."""

    name: str
    cases: tuple[Case, ...]

    @property
    def workers(self) -> range:
        return range(FEWEST, max(case.most for case in self.cases) + 1)

    def of(self, workers: int) -> list[Case]:
        """Return what so many workers do."""
        return [case for case in self.cases if workers <= case.most]


TABLE = pd.read_csv(Path(__file__).with_name("cases.csv"))
PLANS = {
    str(name): Plan(str(name), tuple(Case(**line) for line in lines.to_dict("records")))
    for name, lines in TABLE.set_index("plan").groupby(level="plan")
}
FULL, QUICK = PLANS["full"], PLANS["quick"]
