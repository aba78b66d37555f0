"""The list of the checks, made of their docstrings."""

from importlib import import_module
from itertools import groupby

from keras_textbook_opt.testing import CHECKS, registry


def listed() -> str:
    """A section for each group, an entry for each check."""
    parts = []
    for module, checks in groupby(CHECKS, key=lambda check: check.__module__):
        about = (import_module(module).__doc__ or "").partition("\n")[0]
        parts.append(f"### {module.rpartition('.')[2]}\n\n{about}\n")
        parts += [_entry(check) for check in checks]
    return "\n".join(parts)


def _entry(check) -> str:
    return (
        f"- **`{check.__name__}`** {registry.sentence(check)}\n"
        f"  *Why:* {registry.section(check, 'Why')}\n"
        f"  *To mend it:* {registry.section(check, 'Mend')}"
    )
