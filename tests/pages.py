"""The pages of the documents, and the code on them, found and run by sybil."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from tests.processes import ROOT

PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for pattern in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md")
    for page in ROOT.glob(pattern)
)


def blocks(page: Path, language: str = "python") -> list[Example]:
    """The blocks of a language on a page, which share one namespace."""
    parser = PythonCodeBlockParser() if language == "python" else _source(language)
    document = Sybil([parser]).parse(page)
    document.namespace["__name__"] = page.name  # where classes say that they are
    return list(document.examples())


def _source(language: str) -> Callable:
    return CodeBlockParser(language, evaluator=lambda example: None)


def run(page: Path) -> None:
    """Run the blocks of a page from the top to the bottom, in one namespace."""
    for block in blocks(page):
        block.evaluate()


def run_each_alone(page: Path) -> None:
    """Run each block of a page in a namespace of its own, as somebody pastes it."""
    for k in range(len(blocks(page))):
        blocks(page)[k].evaluate()
