"""What the pages show of the committed results, and the list of the checks.

A page marks what is written there, as `<!-- KIND: ARGUMENTS --> … <!-- end -->`:
`table boston`, `checks`, `slower: models`, `same path:`, `failed: keras.optimizers`,
`ratio: update; tensorflow; 1 of 20,000,000; Adam` for a speed-up, and `inverse:` with
the contenders as well (`; ours, bfloat16; ours`) for a price.
"""

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks import report, rows
from benchmarks.boston.experiments import SAME_PATH
from benchmarks.conformance import pages as conformance
from benchmarks.conformance import results
from benchmarks.report import number
from benchmarks.steps import pages as steps

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
MARKED = re.compile(
    r"(<!-- (table|checks|ratio|inverse|slower|same path|failed):?(.*?) -->)"
    r".*?(<!-- end -->)",
    re.DOTALL,
)


def update() -> None:
    """Write all pages as they are to be now."""
    for page in PAGES:
        page.write_text(renewed(page.read_text()))


def renewed(page: str) -> str:
    """Return the page with what the results say between its marks."""

    def between(marks: re.Match[str]) -> str:
        return f"{marks[1]}{KINDS[marks[2]](marks[3].strip())}{marks[4]}"

    return MARKED.sub(between, page)


def _table(name: str) -> str:
    return f"\n{(RESULTS / name / report.TABLE).read_text().strip()}\n"


def _checks(_: str) -> str:
    from benchmarks.conformance.listed import listed

    return f"\n{listed()}\n"


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
    "table": _table,
    "checks": _checks,
    "ratio": lambda names: number(_ratio(names)),
    "inverse": lambda names: number(1 / _ratio(names)),
    "slower": lambda part: steps.slower(rows.read(RESULTS / "steps"), part),
    "same path": _same_path,
    "failed": _failed,
}
