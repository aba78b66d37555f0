"""What was counted, beside what the formulas say."""

from dataclasses import dataclass

from benchmarks.workers import model
from benchmarks.workers.plans import DENSE

# The lengths, the numbers and the indices of rows are gathered one after another.
GATHERS = 3


@dataclass(frozen=True)
class Count:
    """The bytes that all workers together sent in a step; see `plans.Case`."""

    workers: int
    gradient: str
    rows: int
    touched: int
    width: int
    bytes_a_step: int

    @property
    def computed(self) -> int:
        """What had to travel."""
        if self.gradient == DENSE:
            return model.dense_sum(self.workers, self.rows * self.width)
        return model.sum_of_rows(self.workers, self.touched, self.width)

    @property
    def ratio(self) -> float:
        """Measured over computed."""
        return self.bytes_a_step / self.computed

    @property
    def more(self) -> int:
        """Measured less computed: what the protocol adds."""
        return self.bytes_a_step - self.computed

    @property
    def messages(self) -> int:
        """How many messages the rings of the step consist of."""
        pairs = self.workers * (self.workers - 1)
        return pairs * (2 if self.gradient == DENSE else GATHERS)


def size(count: float) -> str:
    """Return a number of bytes as text."""
    for least, unit, name in ((1e12, 1e12, "TB"), (1e9, 1e9, "GB"), (1e8, 1e6, "MB")):
        if count >= least:
            return f"{count / unit:,.1f} {name}"
    if count < 100_000:
        return f"{count / 1_000:.1f} kB"
    return f"{count / 1_000:,.0f} kB"
