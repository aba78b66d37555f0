"""Steps timed in turn, so that all contenders of a round meet the same machine."""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Step = Callable[[], object]
Samples = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Repeats:
    """How often to measure: until `seconds` have passed, within the two limits."""

    at_least: int
    at_most: int
    seconds: float
    warm_up: int = 2
    twice: bool = True  # time the second of two calls, when the caches are its own


def interleaved(steps: Mapping[str, Step], repeats: Repeats) -> Samples:
    """Return the milliseconds of each step, which waits for its result, by round."""
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for step in [*steps.values()] * repeats.warm_up:
        step()
    gc.collect()
    gc.disable()
    end = time.perf_counter() + repeats.seconds
    for number in range(repeats.at_most):
        if number >= repeats.at_least and time.perf_counter() > end:
            break
        for name, step in steps.items():
            if repeats.twice:
                step()
            samples[name].append(milliseconds(step))
    gc.enable()
    return samples


def milliseconds(step: Step) -> float:
    """Return the time of one call."""
    start = time.perf_counter_ns()
    step()
    return (time.perf_counter_ns() - start) / 1e6
