"""The results of a run: as text for a terminal of 80 columns, and as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from keras_textbook_opt.testing import registry
from keras_textbook_opt.testing.conformance import FAILURES, Result
from keras_textbook_opt.testing.verdicts import CheckFailed, CouldNotRun

STYLES = {
    "passed": "green",
    "failed": "bold red",
    "xpass": "bold red",
    "error": "bold red",
    "xfail": "blue",
    "inherited": "blue",
    "skipped": "yellow",
}


class Written:
    """The file of `--json`, which can be read after each check.

    Raises:
        OSError: The file cannot be written.
    """

    def __init__(self, path: Path, optimizer: str):
        self._path = path
        if path.exists() and not path.is_file():
            raise OSError(f"Expected a regular file. Received: {path}")
        self._content: dict[str, Any] = {
            "optimizer": optimizer,
            "backend": keras.backend.backend(),
            "versions": versions(),
            "finished": False,
            "results": [],
        }
        self._write()

    def add(self, result: Result) -> None:
        """Add the result of a check."""
        entry = {**result, "optimizer": self._content["optimizer"]}
        entry["exception"] = result["exception"] and str(result["exception"])
        self._content["results"].append(entry)
        self._write()

    def finish(self) -> None:
        """Mark the run as complete."""
        self._content["finished"] = True
        self._write()

    def _write(self) -> None:
        # A run that is killed here leaves the file of the check before.
        new = self._path.with_name(f"{self._path.name}.new")
        new.write_text(json.dumps(self._content, indent=1), encoding="utf-8")
        new.replace(self._path)


def versions() -> dict[str, str]:
    """The versions that the results are valid for."""
    names = ["keras-textbook-opt", "keras", "numpy", keras.backend.backend()]
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def show_list(console: Console) -> None:
    """All checks by group, with one line each."""
    names: list[str] = []
    for check in registry.CHECKS:
        if registry.group(check) not in names:
            names.append(registry.group(check))
            quick = " (also in `quick`)" if names[-1] in registry.QUICK else ""
            console.print(f"\n[bold]group:{names[-1]}[/bold]{quick}")
        console.print(f"  {check.__name__}", style="cyan", highlight=False)
        text = Text(registry.sentence(check))
        console.print(Padding(text, (0, 0, 0, 6), expand=False))


def show(console: Console, results: Sequence[Result], verbose: bool) -> None:
    """The checks that did not pass: skipped ones first, failures last."""
    for status in ("skipped", "inherited", "xfail"):
        of_status = [each for each in results if each["status"] == status]
        dependent = [] if verbose else [each for each in of_status if _depends(each)]
        for result in of_status:
            if result not in dependent:
                _show_line(console, result["check_name"], result, verbose)
        for cause in _by_cause(dependent):
            several = (
                f"{len(cause)} checks" if len(cause) > 1 else cause[0]["check_name"]
            )
            _show_line(console, several, cause[0], verbose)
    for causes in _by_cause([r for r in results if r["status"] in FAILURES]):
        _show_failure(console, causes, verbose)


def _depends(result: Result) -> bool:
    return isinstance(result["exception"], CouldNotRun)


def _show_line(console: Console, of: str, result: Result, verbose: bool) -> None:
    said = str(result["exception"]).partition("\n")[0]
    if result["status"] == "xfail":
        said = f"expected to fail: {result['expected_to_fail_reason']}"
    line = Text.assemble((of, STYLES[result["status"]]), "  ", " ".join(said.split()))
    if verbose:
        console.print(line)
    else:
        console.print(line, no_wrap=True, overflow="ellipsis")


def _by_cause(results: list[Result]) -> list[list[Result]]:
    """Results with one cause are together."""
    groups: dict[Any, list[Result]] = {}
    for result in results:
        error = result["exception"]
        cause: Any = result["check_name"]
        if isinstance(error, CheckFailed) and error.where:
            cause = (error.where, error.reasons)
        if _depends(result):
            cause = str(error)
        groups.setdefault(cause, []).append(result)
    return list(groups.values())


def _show_failure(console: Console, causes: list[Result], verbose: bool) -> None:
    first, names = causes[0], [result["check_name"] for result in causes]
    error = first["exception"]
    console.print()
    label = first["status"].upper()
    console.print(f"[{STYLES[first['status']]}]{label}[/] {names[0]}", highlight=False)
    if not isinstance(error, CheckFailed):
        console.print(Padding(Text(str(error)), (0, 0, 0, 2), expand=False))
        return
    console.print(Padding(Text(error.summary), (0, 0, 0, 2), expand=False))
    if error.where:
        console.print(f"  At: {error.where}", highlight=False, soft_wrap=True)
    if len(names) > 1:
        others = "\n".join(names[1:])
        text = f"{len(names) - 1} other checks fail for the same reason:"
        console.print(f"  {text}", highlight=False)
        console.print(Padding(Text(others), (0, 0, 0, 4), expand=False))
    if error.fix:
        console.print(Padding(Text(f"Fix: {error.fix}"), (0, 0, 0, 2), expand=False))
    if error.code:
        console.print("  Reproduce:")
        for line in error.code:
            console.print(Text(line, style="dim"), soft_wrap=True)
    if verbose and error.__cause__ is not None:
        console.print(Padding(Text(repr(error.__cause__)), (0, 0, 0, 2), expand=False))


def show_summary(console: Console, optimizer: str, results: Sequence[Result]) -> None:
    """One line with the counts, and one with what they are valid for."""
    counts: Counter[str] = Counter(result["status"] for result in results)
    said = ", ".join(f"{counts[s]} {s}" for s in STYLES if counts[s])
    seconds = sum(result["seconds"] for result in results)
    valid = ", ".join(f"{name} {number}" for name, number in versions().items())
    console.print()
    console.print(
        f"{optimizer}: {said or 'no checks'} ({seconds:.0f} s)", highlight=False
    )
    console.print(f"{valid}", style="dim", highlight=False)
