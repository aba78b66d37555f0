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


@dataclass(frozen=True)
class Plan:
    """Row `k` is looked up in proportion to `k⁻ˢ`, for each exponent `s`."""

    name: str
    rows: int
    width: int = 16
    lookups: int = 1_024
    exponents: tuple[float, ...] = (0.0, 1.0, 1.5)
    workers: int = 2
    warm_up: int = 3
    steps: int = 20

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
        streams = [self.stream(exponent, k) for k in range(self.workers)]
        return float(np.mean([len(np.unique(ids)) for s in streams for ids in s]))


FULL = Plan("full", rows=100_000)
QUICK = Plan("quick", rows=1_000, exponents=(1.0,), steps=5)
PLANS = {plan.name: plan for plan in (FULL, QUICK)}
