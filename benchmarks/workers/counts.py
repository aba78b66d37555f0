"""What was counted, beside what the formulas say."""

from dataclasses import dataclass

import pandas as pd

from benchmarks import rows
from benchmarks.rows import Row
from benchmarks.workers import model
from benchmarks.workers.plans import DENSE, Case, Plan

# The lengths, the numbers and the indices of rows are gathered one after another.
GATHERS = 3


@dataclass(frozen=True)
class Count:
    """The bytes that all workers together sent in a step."""

    workers: int
    case: Case
    sent: int

    @property
    def computed(self) -> int:
        return computed(self.workers, self.case)

    @property
    def ratio(self) -> float:
        """Measured over computed."""
        return self.sent / self.computed

    @property
    def more(self) -> int:
        """Measured less computed: what the protocol adds."""
        return self.sent - self.computed

    @property
    def messages(self) -> int:
        """How many messages the rings of the step consist of."""
        pairs = self.workers * (self.workers - 1)
        return pairs * (2 if self.case.gradient == DENSE else GATHERS)


def computed(workers: int, case: Case) -> int:
    """Return the bytes that have to travel, where each worker has rows of its own."""
    if case.gradient == DENSE:
        return model.dense_sum(workers, case.rows * case.width)
    return model.sum_of_rows(workers, case.touched, case.width)


def row(workers: int, case: Case, sent: float) -> Row:
    part = f"{workers} workers"
    names = part, case.name, case.contender, "tensorflow", case.size
    return Row(*names, 0.5, float(sent), "bytes")


def counts(found: pd.DataFrame, plan: Plan) -> list[Count]:
    """Return what was counted of the plan's cases, by case."""
    cases = dict.fromkeys(case for n in plan.workers for case in plan.cases(n))
    return [
        Count(workers, case, int(sent))
        for case in cases
        for workers in plan.workers
        for sent in _values(found, row(workers, case, 0))
    ]


def _values(found: pd.DataFrame, row: Row) -> pd.Series:
    """Return the values of rows with the names of this one."""
    names = {name: getattr(row, name) for name in rows.KEYS}
    return rows.find(found, **names)["value"]


def size(count: float) -> str:
    """Return a number of bytes as text."""
    for least, unit, name in ((1e12, 1e12, "TB"), (1e9, 1e9, "GB"), (1e8, 1e6, "MB")):
        if count >= least:
            return f"{count / unit:,.1f} {name}"
    if count < 100_000:
        return f"{count / 1_000:.1f} kB"
    return f"{count / 1_000:,.0f} kB"
