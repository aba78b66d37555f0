"""A piece of work between two ticks of the progress bar."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.steps.figures import Measurement


@dataclass(frozen=True)
class Case:
    title: str
    measure: Callable[[], Sequence[Measurement]]
