"""What a study trains: each experiment is a part, run over some seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from benchmarks.rows import Row
from benchmarks.suite import Advance, Part

Measure = Callable[[Any, Sequence[int], Advance], list[Row]]


@dataclass(frozen=True)
class Plan:
    """Experiments, which have a title and a number of epochs, and the seeds of each."""

    name: str
    experiments: Sequence[Any]
    seeds: Sequence[int]

    def shortened(self, factor: int) -> "Plan":
        """Return a quick plan: one epoch of every `factor`, from two seeds."""
        short = [
            replace(each, epochs=max(1, each.epochs // factor))
            for each in self.experiments
        ]
        return Plan("quick", short, self.seeds[:2])

    def parts(self, measure: Measure) -> list[Part[list[Row]]]:
        """Return the parts of a suite, each measured with its seeds."""
        return [
            Part(each.title, len(self.seeds), partial(measure, each, self.seeds))
            for each in self.experiments
        ]

    def facts(self) -> dict[str, Any]:
        """Return what the setting is to say of it."""
        return {"plan": self.name, "seeds": list(self.seeds)}
