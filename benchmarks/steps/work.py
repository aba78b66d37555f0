"""What the parts share: the names in their rows, and the rows of timed steps."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import rows, timing
from benchmarks.rows import Row

BUILD = Path(__file__).parents[2] / "build"
OURS, EXACT, LAZY = "ours", "exact", "lazy"
BUILTIN = "built-in"
# Ours without the option whose cost is measured.
WITHOUT = "ours without it"
FLOOR = "floor"
MILLISECONDS = "ms"
# The quantile of the best of all tries.
BEST = 0.0

# A title for the progress bar, and rows that are measured when they are asked for.
Work = tuple[str, Iterator[Row]]


def timed(
    samples: timing.Samples,
    ratios: Sequence[tuple[str, str]] = (),
    /,
    **names: str,
) -> Iterator[Row]:
    """Return the quartiles of each subject's time, and of ratios within a round.

    These are of all others to each of ours, if no others are named.
    """
    for subject, each in samples.items():
        yield from rows.quartiles(each, subject=subject, unit=MILLISECONDS, **names)
    for over, under in ratios or _against_ours(samples):
        yield from rows.quartiles(
            timing.ratios(samples[over], samples[under]),
            subject=rows.ratio_name(over, under),
            unit="",
            **names,
        )


def best(value: float, **names: str) -> Row:
    """Return the row of a floor."""
    return Row(subject=FLOOR, quantile=BEST, value=value, unit=MILLISECONDS, **names)


def _against_ours(samples: timing.Samples) -> Iterator[tuple[str, str]]:
    all_of_ours = [name for name in samples if name in (OURS, EXACT, LAZY)]
    for ours in all_of_ours:
        for other in samples:
            if other not in all_of_ours:
                yield (ours, other) if other == WITHOUT else (other, ours)
