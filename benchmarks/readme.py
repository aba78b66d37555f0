"""The documents' tables, taken from the committed results."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
TABLE = re.compile(r"<!-- table (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def update() -> None:
    """Put each results folder's `table.md` between the marks that name the folder."""
    for page in PAGES:
        page.write_text(TABLE.sub(_table, page.read_text()))


def _table(mark: re.Match[str]) -> str:
    folder = mark.group(1)
    table = (ROOT / "benchmarks" / "results" / folder / "table.md").read_text()
    return f"<!-- table {folder} -->\n{table.strip()}\n<!-- end -->"
