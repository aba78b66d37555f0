"""The list of all checks for the documents, made of their docstrings."""

import importlib
import re
from itertools import groupby
from pathlib import Path

from keras_textbook_opt.testing import CHECKS, registry

PAGE = Path(__file__).parents[2] / "docs" / "checks.md"
MARKED = re.compile(r"(<!-- checks -->\n).*(<!-- end -->)", re.DOTALL)


def update() -> None:
    """Put the list into the page."""
    PAGE.write_text(with_checks(PAGE.read_text()))


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
