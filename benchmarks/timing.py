"""Steps timed in turn, so that all contenders of a round meet the same machine."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

Step = Callable[[], object]
Samples = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Repeats:
    """How often to measure.

    Rounds go on until `seconds` have passed, but within `at_least` and `at_most`;
    `warm_up` rounds before them are not counted.
    """

    warm_up: int
    at_least: int
    at_most: int
    seconds: float


def interleaved(steps: Mapping[str, Step], repeats: Repeats) -> Samples:
    """Return the milliseconds of each step, one figure for each round.

    A step returns when its result is there. In its turn it is called twice and the
    second call is timed: a step finds the caches as its own last step left them, not
    as another contender's.
    """
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats.warm_up):
        for step in steps.values():
            step()
    with _no_garbage_collection():
        for _ in _rounds(repeats):
            for name, step in steps.items():
                step()
                samples[name].append(milliseconds(step))
    return samples


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Return the ratio of each round's pair, for as many rounds as both have."""
    return [a / b for a, b in zip(over, under)]


def milliseconds(step: Step) -> float:
    """Return how long one call takes."""
    start = time.perf_counter_ns()
    step()
    return (time.perf_counter_ns() - start) / 1e6


def _rounds(repeats: Repeats) -> Iterator[int]:
    end = time.perf_counter() + repeats.seconds
    for number in range(repeats.at_most):
        if number >= repeats.at_least and time.perf_counter() > end:
            return
        yield number


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
