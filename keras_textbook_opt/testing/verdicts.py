"""What a check says: nothing where the promise is kept, or one of these two."""

from __future__ import annotations

import re
import unittest
from typing import final


@final
class CheckFailed(AssertionError):
    """The promise is broken: what was expected, what came, and by how much."""


@final
class CheckSkipped(unittest.SkipTest):
    """The check proves nothing here; the message says what it waits for."""


_SAYS_NOTHING = "Exception encountered when calling"
_LONGEST = 300


def telling_line(error: BaseException) -> str:
    """The line of an error that says what is wrong: of a graph's it is a later one."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    _, _, after = plain.rpartition(_SAYS_NOTHING)
    lines = [line.strip() for line in after.splitlines() if line.strip()]
    if after != plain:  # what follows is the rest of that line, and then the message
        lines = lines[1:] or lines
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*:", line)]
    first = f"{type(error).__name__}: {lines[0] if lines else 'without a message'}"
    line = named[-1] if named else first
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
