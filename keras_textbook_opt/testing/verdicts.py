"""The outcomes of a check: nothing if it passes, otherwise one of these exceptions."""

from __future__ import annotations

import re
import traceback
import unittest
from collections.abc import Iterable
from typing import final


@final
class CheckFailed(AssertionError):
    """The optimizer breaks the check's promise.

    Args:
        summary: What was compared, and how far off it is.
        reasons: What makes two failures the same one. A failure is inherited if all of
            its reasons are among those of the baseline.
    """

    fix: str = ""
    """How to repair the optimizer."""
    code: tuple[str, ...] = ()
    """Two lines of Python that reproduce the failure."""
    where: str = ""
    """`file:line, in function` of the author's code that raised; else empty."""

    def __init__(self, summary: str, reasons: Iterable[str] = ()):
        super().__init__(summary)
        self.summary = summary
        self.reasons = frozenset(reasons) or frozenset([without_details(summary)])

    def __str__(self) -> str:
        lines = [self.summary]
        if self.where:
            lines.append(f"At: {self.where}")
        if self.fix:
            lines.append(f"Fix: {self.fix}")
        if self.code:
            lines += ["Reproduce:", *(f"    {line}" for line in self.code)]
        return "\n".join(lines)


class CheckSkipped(unittest.SkipTest):
    """The check does not apply to this optimizer or backend."""

    prefix = "not applicable"

    def __str__(self) -> str:
        return f"{self.prefix}: {super().__str__()}"


@final
class CouldNotRun(CheckSkipped):
    """Another check fails, and this one depends on it."""

    prefix = "could not run"


@final
class Inherited(CheckSkipped):
    """The check fails, and fails on the baseline for the same reason."""

    prefix = "inherited"


@final
class CheckerError(RuntimeError):
    """The check itself failed: a bug of the checker."""


# The first line of these errors does not say what the optimizer did.
_EXPLAINED = {
    "UnexpectedTracerError": "a value computed in a compiled step was kept in a Python "
    "attribute and used later; keep it in a variable of the optimizer",
    "TracerBoolConversionError": "a Python `if` depends on a value of a compiled step; "
    "use `ops.where` or `ops.cond`",
    "ConcretizationTypeError": "a Python number was made of a value of a compiled step",
    "TracerArrayConversionError": "a NumPy array was made of a value of a compiled "
    "step; use `keras.ops`",
}
_SAYS_NOTHING = "Exception encountered when calling"
_LONGEST = 300


def telling_line(error: BaseException) -> str:
    """`whole_line`, shortened."""
    return shortened(whole_line(error))


def shortened(line: str) -> str:
    """The start of a line that may be very long."""
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def whole_line(error: BaseException) -> str:
    """The line of an error that says what is wrong; in a graph it is a later one."""
    kind = type(error).__name__
    if kind in _EXPLAINED:
        return f"{kind}: {_EXPLAINED[kind]}"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    _, _, after = plain.rpartition(_SAYS_NOTHING)
    lines = [line.strip() for line in after.splitlines() if line.strip()]
    if after != plain:  # the rest of that line comes first, then the message
        lines = lines[1:] or lines
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*:", line)]
    return named[-1] if named else ": ".join([kind, *lines[:1]])


def frames(error: BaseException) -> list[tuple[str, int, str]]:
    """File, line and function of each call that led to `error`, innermost last.

    TensorFlow writes those of a graph into the message instead.
    """
    found = [
        (frame.filename, frame.lineno or 0, frame.name)
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    written = re.findall(r'File "([^"]+)", line (\d+), in (\S+)', str(error))
    return found + [(file, int(line), name) for file, line, name in written]


_DETAILS = {
    r"(?<!\w)/\S+": "PATH",
    r"_\d+(?!\w)": "",  # the counter of a generated name: `sequential_3/kernel`
    r"0x[\da-f]+|[-+]?\d[\d.]*(e[-+]?\d+)?|\b(nan|inf)\b": "#",
    r"[\s,()[\]]*#[\s,()[\]#]*": " # ",  # a shape, or an array
}


def without_details(text: str) -> str:
    """`text` without numbers, shapes, addresses and paths, to compare two runs."""
    for pattern, replacement in _DETAILS.items():
        text = re.sub(pattern, replacement, text)
    return text
