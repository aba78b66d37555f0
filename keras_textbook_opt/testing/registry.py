"""The list of checks, how they are selected, and how one is run.

A check is a function of a `Subject` with a docstring of three parts: the promise in one
sentence, `Why:` it matters, `Fix:` how to repair the optimizer. The decorator `promise`
makes it a public function of a factory and adds it to the list.
"""

from __future__ import annotations

import difflib
import fnmatch
import functools
import inspect
import os
import re
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_textbook_opt.testing.naming import written
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import (
    CheckerError,
    CheckFailed,
    CheckSkipped,
    CouldNotRun,
    frames,
    telling_line,
    whole_line,
    without_details,
)

CHECKS: list[Callable[..., None]] = []
"""All checks, in the order in which they run."""
QUICK = {"contract", "clips", "features"}
"""The groups of `--select quick`."""
_HERE, _NUMPY = Path(__file__).parent, Path(np.__file__).parent
_OURS = _HERE.parent


def promise(check: Callable[..., None]) -> Callable[..., None]:
    """Make `check` a function of a factory, and add it to the list.

    It raises `CheckFailed` or `CheckSkipped`. An error of the optimizer is a failure;
    an error of the check itself is a `CheckerError`.
    """

    def checked(factory: Any, **given: Any) -> None:
        run(check, factory, **given)

    functools.update_wrapper(checked, check)
    del checked.__wrapped__  # type: ignore[attr-defined]
    CHECKS.append(checked)
    return checked


def run(check: Callable[..., None], factory: Any, **given: Any) -> None:
    """Run `check` on the subject of `factory`, and complete what it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check(_subject(check, factory), **given)
        except CheckSkipped:
            raise
        except Exception as error:
            failed = _failed(error, factory)
            failed.fix = section(check, "Fix")
            failed.code = _reproduction(check, factory, given)
            raise failed from (error if error is not failed else error.__cause__)


def _subject(check: Callable, factory: Any) -> Subject:
    """The subject of a factory. If there is none, only the first check fails."""
    try:
        return Subject.of(factory)
    except Exception as error:
        failed = _failed(error, factory)
        if check.__name__ == CHECKS[0].__name__:
            raise failed from error
        at = f", {failed.where}" if failed.where else ""
        raise CouldNotRun(f"{failed.summary.rstrip('.')}{at}") from error


def _failed(error: Exception, factory: Any) -> CheckFailed:
    """The failure that `error` means.

    Raises:
        CheckerError: It was raised by the check itself.
    """
    if isinstance(error, CheckFailed):
        return error
    if not _is_of_others(error):
        *_, last = traceback.extract_tb(error.__traceback__)
        raise CheckerError(
            f"the checker has a bug, please report it: {telling_line(error)} "
            f"({Path(last.filename).name}:{last.lineno})"
        ) from error
    reason = without_details(whole_line(error))
    failed = CheckFailed(f"raises {telling_line(error)}", [reason])
    failed.where = place(error, factory)
    return failed


def _is_of_others(error: BaseException) -> bool:
    """Whether it was raised in a call into the optimizer or its framework."""
    files = [Path(f.filename) for f in traceback.extract_tb(error.__traceback__)]
    called = [file for file in files if _HERE not in file.parents]
    return bool(called) and _NUMPY not in called[0].parents


def place(error: BaseException, factory: Any = None) -> str:
    """`file:line, in function` of the author's innermost call, or an empty text."""
    called = [f for f in frames(error) if not _is_framework(f[0])]
    files = _files(factory)
    own = [f for f in frames(error) if f[0] in files] or called
    if not own:
        return ""
    file, line, function = own[-1]
    shown = os.path.relpath(file)
    return f"{file if shown.startswith('..') else shown}:{line}, in {function}"


_LIBRARY = sysconfig.get_path("stdlib")
_FRAMEWORKS = ("keras", "tensorflow", "jax", "torch", "numpy", "h5py")


def _is_framework(file: str) -> bool:
    """Whether a file belongs neither to the checker nor to the optimizer's author."""
    modules = [sys.modules.get(name) for name in _FRAMEWORKS]
    folders = [Path(m.__file__).parent for m in modules if m and m.__file__]
    if file.startswith("<") or any(f in Path(file).parents for f in [_OURS, *folders]):
        return True
    return file.startswith(_LIBRARY) and "site-packages" not in file


def _files(factory: Any) -> set[str]:
    """The files of an optimizer's classes, except for those of their base in Keras."""
    while hasattr(factory, "func"):
        factory = factory.func
    modules = (
        {getattr(kind, "__module__", "") for kind in inspect.getmro(factory)}
        if (inspect.isclass(factory))
        else {getattr(factory, "__module__", "")}
    )
    found = [sys.modules.get(module) for module in modules]
    files = {str(getattr(module, "__file__", None)) for module in found if module}
    return {file for file in files if not _is_framework(file)}


def _reproduction(
    check: Callable, factory: Any, given: dict[str, Any]
) -> tuple[str, str]:
    """Two lines of code: the imports, and the check of this optimizer."""
    modules, subject = written(factory)
    arguments = [subject]
    for name, value in given.items():
        more, expression = written(value)
        modules = [*modules, *more]
        arguments.append(f"{name}={expression}")
    imports = [f"import {', '.join(sorted(set(modules)))}"] if modules else []
    imports.append(f"from {check.__module__} import {check.__name__}")
    return "; ".join(imports), f"{check.__name__}({', '.join(arguments)})"


def group(check: Callable) -> str:
    """The group of a check: the name of its file."""
    return check.__module__.rpartition(".")[2]


def sentence(check: Callable) -> str:
    """The promise."""
    return inspect.getdoc(check).partition("\n")[0]  # type: ignore[union-attr]


def section(check: Callable, title: str) -> str:
    """The text of the docstring under `Why:` or `Fix:`, in one line."""
    parts = re.split(r"^(Why|Fix): ", inspect.getdoc(check) or "", flags=re.M)
    texts = dict(zip(parts[1::2], parts[2::2]))
    return " ".join(texts[title].split())


def selected(
    select: str | list[str] | None = None, deselect: str | list[str] | None = None
) -> list[Callable[..., None]]:
    """The checks that `select` names, without those that `deselect` names.

    A word is the name of a check, a pattern such as `check_sparse_*`, a group such as
    `group:state`, or `quick`.

    Raises:
        ValueError: A word names no check.
    """
    chosen = _named(select) if select is not None else set(CHECKS)
    chosen -= _named(deselect) if deselect is not None else set()
    return [check for check in CHECKS if check in chosen]


def _named(words: str | list[str]) -> set[Callable]:
    found: set[Callable] = set()
    for word in [words] if isinstance(words, str) else words:
        named = {check for check in CHECKS if _is_meant(check, word)}
        if not named:
            raise ValueError(_unknown(word))
        found |= named
    return found


def _is_meant(check: Callable, word: str) -> bool:
    if word == "quick":
        return group(check) in QUICK
    if word.startswith("group:"):
        return group(check) == word.removeprefix("group:")
    return fnmatch.fnmatchcase(check.__name__, word)


def _unknown(word: str) -> str:
    groups = dict.fromkeys(f"group:{group(check)}" for check in CHECKS)
    known = ["quick", *groups, *(check.__name__ for check in CHECKS)]
    near = [f"group:{word}"] if f"group:{word}" in groups else []
    near += difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    meant = " or ".join(map(repr, dict.fromkeys(near)))
    return (
        f"No check is called {word!r}.{f' Did you mean {meant}?' if meant else ''} "
        "Expected the name of a check, a pattern such as 'check_sparse_*', 'quick', or "
        f"one of {', '.join(groups)}."
    )
