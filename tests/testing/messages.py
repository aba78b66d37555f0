"""The outcome of a check, and the two lines that reproduce a failure."""

from typing import Any

from keras_textbook_opt.testing import CheckFailed, CheckSkipped


def outcome(check: Any, factory: Any) -> Exception | None:
    """The failure, or the reason to skip the check; nothing if it passes."""
    try:
        check(factory)
    except (CheckFailed, CheckSkipped) as said:
        return said
    return None


def run_again(failure: CheckFailed) -> None:
    """Run the two lines, as pasted into an interpreter that has imported nothing."""
    namespace: dict[str, Any] = {}
    exec("\n".join(failure.code), namespace)
