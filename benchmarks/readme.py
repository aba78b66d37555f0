"""The committed results on the pages.

A page marks what is written there, as `<!-- KIND: ARGUMENTS --> … <!-- end -->`:
`ratio: update; tensorflow; 1 of 20,000,000; Adam` for a speed-up, `inverse:` with the
contenders as well (`; ours, bfloat16; ours`) for a price, `slower: update`,
`measured: steps`, `same path:`, and `failed: keras.optimizers`. A mark `models:` is a
whole section, once training steps have been measured.
"""

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks import report, rows, setting
from benchmarks.boston.experiments import SAME_PATH
from benchmarks.conformance import pages as conformance
from benchmarks.conformance import results
from benchmarks.steps import pages as steps

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def update() -> None:
    """Write all pages as they are to be now."""
    for page in PAGES:
        page.write_text(renewed(page.read_text()))


def renewed(page: str) -> str:
    """Return the page with what the results say between its marks."""

    def between(marks: re.Match[str]) -> str:
        return f"{marks[1]}{KINDS[marks[2]](marks[3].strip())}{marks[4]}"

    return MARKED.sub(between, page)


def _ratio(names: str) -> float:
    return steps.ratio(rows.read(RESULTS / "steps"), *names.split("; "))


def _same_path(_: str) -> str:
    pairs = rows.find(rows.read(RESULTS / "boston"), part=SAME_PATH)
    return f"{pairs['value'].max():.1e}"


def _failed(source: str) -> str:
    found = results.read(RESULTS / "conformance")
    failed = conformance.counts(rows.find(found, house=source))["failed"]
    return f"{failed.min()} to {failed.max()}"


KINDS: dict[str, Callable[[str], str]] = {
    "ratio": lambda names: report.number(_ratio(names)),
    "inverse": lambda names: report.number(1 / _ratio(names)),
    "slower": lambda part: steps.slower(rows.read(RESULTS / "steps"), part),
    "models": lambda _: steps.models(rows.read(RESULTS / "steps")),
    "measured": lambda name: setting.in_short(RESULTS / name),
    "same path": _same_path,
    "failed": _failed,
}
MARKED = re.compile(
    rf"(<!-- ({'|'.join(KINDS)}):(.*?) -->).*?(<!-- end -->)", re.DOTALL
)
