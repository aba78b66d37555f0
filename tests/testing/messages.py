"""The parts of a failure: what was compared, how large it is, how to see it again."""

import re
from typing import Any

SIZE = re.compile(r"off by (\S+|all) of the movement|\S+ of the movement")


def has_its_size(failure: Exception | str) -> bool:
    """Whether the first part says how large the difference is, and of what."""
    compared, _, rest = str(failure).partition("\nTo mend it: ")
    return bool(rest) and bool(SIZE.search(compared))


def lines(failure: Exception | str) -> list[str]:
    """The two lines of code."""
    _, _, code = str(failure).partition("\nTo see it again:\n")
    return [line.strip() for line in code.splitlines()]


def run_again(failure: Exception | str) -> None:
    """Run the two lines, as pasted into an interpreter that has imported nothing."""
    imports, call = lines(failure)
    namespace: dict[str, Any] = {}
    exec(f"{imports}\n{call}", namespace)
