"""The list of checks, and what every check does beside its own work.

A check is written as a function of a `Subject`, with a docstring of three parts: the
promise in one sentence, `Why:` it matters, `Mend:` what to do. The decorator `promise`
makes it a public function of a factory and puts it on the list.
"""

from __future__ import annotations

import functools
import inspect
import re
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_textbook_opt.testing.comparing import ended
from keras_textbook_opt.testing.naming import written
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckFailed, CheckSkipped, telling_line

CHECKS: list[Callable[..., None]] = []
"""All checks, in their order: functions of a factory, with a name and a docstring."""
_HERE, _NUMPY = Path(__file__).parent, Path(np.__file__).parent


def promise(check: Callable[..., None]) -> Callable[..., None]:
    """Make `check` a function of a factory, and put it on the list.

    It raises `CheckFailed` or `CheckSkipped`. What the optimizer raises where it should
    not is a failure; an error of the check itself goes through as it is.
    """

    def checked(factory: Any, **given: Any) -> None:
        run(check, factory, **given)

    functools.update_wrapper(checked, check)
    del checked.__wrapped__  # type: ignore[attr-defined]
    CHECKS.append(checked)
    return checked


def run(check: Callable[..., None], factory: Any, **given: Any) -> None:
    """Run `check` on the subject of `factory`, and complete what it says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check(_subject(check, factory), **given)
        except CheckSkipped:
            raise
        except CheckFailed as failure:
            raise _complete(check, factory, failure, given) from failure.__cause__
        except Exception as error:
            if not _is_of_others(error):
                raise
            raise _complete(check, factory, _failed(error), given) from error


def _subject(check: Callable, factory: Any) -> Subject:
    """What the check is run on. What cannot be made fails the first check alone."""
    try:
        return Subject.of(factory)
    except Exception as error:
        first = CHECKS[0].__name__
        if check.__name__ == first:
            raise _failed(error) from error
        raise CheckSkipped(f"waits for `{first}` to pass: {_failed(error)}") from error


def _failed(error: Exception) -> CheckFailed:
    if isinstance(error, CheckFailed):
        return error
    return ended(f"Expected no error; came {telling_line(error)}")


def _complete(
    check: Callable, factory: Any, failure: CheckFailed, given: dict[str, Any]
) -> CheckFailed:
    lines = "\n    ".join(_reproduction(check, factory, given))
    return CheckFailed(
        f"{failure}\nTo mend it: {section(check, 'Mend')}\n"
        f"To see it again:\n    {lines}"
    )


def _reproduction(
    check: Callable, factory: Any, given: dict[str, Any]
) -> tuple[str, str]:
    """Two lines of code: what is imported, and the check of this optimizer."""
    modules, subject = written(factory)
    arguments = [subject]
    for name, value in given.items():
        more, expression = written(value)
        modules = [*modules, *more]
        arguments.append(f"{name}={expression}")
    imports = [f"import {', '.join(sorted(set(modules)))}"] if modules else []
    imports.append(f"from {check.__module__} import {check.__name__}")
    return "; ".join(imports), f"{check.__name__}({', '.join(arguments)})"


def _is_of_others(error: BaseException) -> bool:
    """Whether it was raised below a call into the optimizer or its framework.

    What a check calls in NumPy is its own doing.
    """
    files = [Path(f.filename) for f in traceback.extract_tb(error.__traceback__)]
    called = [file for file in files if _HERE not in file.parents]
    return bool(called) and _NUMPY not in called[0].parents


def group(check: Callable) -> str:
    """The name of the file that a check stands in: what its promise is about."""
    return check.__module__.rpartition(".")[2]


def sentence(check: Callable) -> str:
    """The promise."""
    return inspect.getdoc(check).partition("\n")[0]  # type: ignore[union-attr]


def section(check: Callable, title: str) -> str:
    """What the docstring says under `Why:` or `Mend:`, in one line."""
    parts = re.split(r"^(Why|Mend): ", inspect.getdoc(check) or "", flags=re.M)
    texts = dict(zip(parts[1::2], parts[2::2]))
    return " ".join(texts[title].split())


def selected(wanted: str | list[str] | None) -> list[Callable[..., None]]:
    """The checks that `wanted` names, by a part of a name or by a group.

    Raises:
        ValueError: One of the words selects none.
    """
    if wanted is None:
        return list(CHECKS)
    words = [wanted] if isinstance(wanted, str) else list(wanted)
    for word in words:
        if not any(_is_meant(check, word) for check in CHECKS):
            groups = sorted({group(check) for check in CHECKS})
            raise ValueError(
                "Expected a part of the name of a check, or one of the groups "
                f"{groups}. Received: select={word!r}"
            )
    return [check for check in CHECKS if any(_is_meant(check, word) for word in words)]


def _is_meant(check: Callable, word: str) -> bool:
    return word == group(check) or word in check.__name__
