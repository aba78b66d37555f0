"""What the documents show of the committed results, and the list of the checks."""

import re
from pathlib import Path

from benchmarks.conformance.listed import listed

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
MARKED = re.compile(r"<!-- (?:table (\w+)|checks) -->\n.*?<!-- end -->", re.DOTALL)


def update() -> None:
    """Write all pages as they are to be now."""
    for page in PAGES:
        page.write_text(renewed(page.read_text()))


def renewed(page: str) -> str:
    """Put each results folder's `table.md`, or the list, between its marks."""
    return MARKED.sub(_between, page)


def _between(marks: re.Match[str]) -> str:
    table = ROOT / "benchmarks" / "results" / str(marks[1]) / "table.md"
    shown = table.read_text().strip() if marks[1] else listed()
    first, *_, last = marks[0].splitlines()
    return f"{first}\n{shown}\n{last}"
