"""The pages of the documentation, and the code on them, found and run by sybil."""

from __future__ import annotations

from pathlib import Path

from sybil import Example, Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from tests.processes import ROOT

PATTERNS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**/*.md")
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for pattern in PATTERNS
    for page in ROOT.glob(pattern)
)


def blocks(page: Path) -> list[Example]:
    """The Python blocks of a page, which share one namespace."""
    document = Sybil([PythonCodeBlockParser()]).parse(page)
    document.namespace["__name__"] = page.name  # the module of the page's classes
    return list(document.examples())


def run(page: Path) -> None:
    """Run the blocks of a page from top to bottom, in one namespace."""
    for block in blocks(page):
        block.evaluate()
