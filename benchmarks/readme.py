"""The README's tables, taken from the committed results."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
TABLE = re.compile(r"<!-- table (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def update() -> None:
    """Put each results folder's `table.md` between the marks that name the folder."""
    README.write_text(TABLE.sub(_table, README.read_text()))


def _table(mark: re.Match[str]) -> str:
    folder = mark.group(1)
    table = (ROOT / "benchmarks" / "results" / folder / "table.md").read_text()
    return f"<!-- table {folder} -->\n{table.strip()}\n<!-- end -->"
