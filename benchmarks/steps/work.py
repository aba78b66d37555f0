"""A piece of work between two ticks of the progress bar, and what its rows share."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from benchmarks import rows, timing
from benchmarks.rows import Row
from benchmarks.steps.names import MILLISECONDS


class Work(NamedTuple):
    title: str
    measure: Callable[[], Iterable[Row]]


def timed(
    samples: timing.Samples, ratios: Iterable[tuple[str, str]], **names: str
) -> Iterator[Row]:
    """Return the quartiles of each subject's time, and of ratios within a round."""
    for subject, each in samples.items():
        yield from rows.quartiles(each, subject=subject, unit=MILLISECONDS, **names)
    for over, under in ratios:
        yield from rows.quartiles(
            timing.ratios(samples[over], samples[under]),
            subject=rows.ratio_name(over, under),
            unit="",
            **names,
        )


def against(ours: Collection[str], samples: timing.Samples) -> list[tuple[str, str]]:
    """Return the ratios of all others to each of ours."""
    others = [name for name in samples if name not in ours]
    return [(other, each) for each in ours for other in others]
