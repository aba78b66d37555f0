"""The page of the checks: their list, made of docstrings, and what they said."""

import importlib
import re
from itertools import groupby
from pathlib import Path

from benchmarks.conformance import pages
from keras_textbook_opt.testing import CHECKS, registry

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "checks.md"
RESULTS = ROOT / "benchmarks" / "results" / "conformance"
MARKED = re.compile(r"(<!-- checks -->\n).*(<!-- end -->)", re.DOTALL)
TABLE = re.compile(r"(<!-- table -->\n).*(<!-- end of table -->)", re.DOTALL)


def update() -> None:
    """Put the list and the committed results into the page."""
    PAGE.write_text(with_results(with_checks(PAGE.read_text())))


def with_results(page: str) -> str:
    """The page, with the tables of the committed results between their marks."""
    said = pages.tables(RESULTS)
    return TABLE.sub(lambda marks: f"{marks[1]}{said}\n{marks[2]}", page)


def with_checks(page: str) -> str:
    """The page, with the list as it is now between its marks."""
    return MARKED.sub(lambda marks: f"{marks[1]}{listed()}{marks[2]}", page)


def listed() -> str:
    """A section for each group, an entry for each check."""
    parts = []
    for module, checks in groupby(CHECKS, key=lambda check: check.__module__):
        about = (importlib.import_module(module).__doc__ or "").partition("\n")[0]
        parts.append(f"### {module.rpartition('.')[2]}\n\n{about}\n")
        parts += [_entry(check) for check in checks]
    return "\n".join(parts) + "\n"


def _entry(check) -> str:
    return (
        f"- **`{check.__name__}`** {registry.sentence(check)}\n"
        f"  *Why:* {registry.section(check, 'Why')}\n"
        f"  *To mend it:* {registry.section(check, 'Mend')}"
    )
