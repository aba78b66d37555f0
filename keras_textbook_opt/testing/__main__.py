"""`python -m keras_textbook_opt.testing mypackage.optimizers:MyLion`: the command.

A process has one backend of Keras, which is imported with this package: another one
has a process of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import keras
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from keras_textbook_opt.testing import check_optimizer, registry

PASSED, FAILED, NOT_RUNNABLE = 0, 1, 2
BACKENDS = ("tensorflow", "jax", "torch")
STYLES = {"passed": "green", "failed": "red", "skipped": "yellow", "xfail": "blue"}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def check(
    optimizer: Annotated[
        str, typer.Argument(help="Where it is: `mypackage.optimizers:MyLion`.")
    ],
    select: Annotated[
        list[str] | None,
        typer.Option(
            "--select", help="A part of a check's name, or a group of checks."
        ),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="tensorflow, jax or torch; as Keras is set up.")
    ] = None,
    expected: Annotated[
        list[str] | None,
        typer.Option(
            "--expect", help="A check that is known to fail: `check_name=the reason`."
        ),
    ] = None,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="A file for the results.")
    ] = None,
) -> None:
    """Say which promises of a Keras optimizer OPTIMIZER keeps.

    Ends with 0 where all checks passed or were skipped, with 1 where one has failed,
    and with 2 where they could not be run.
    """
    console = Console()
    try:
        if backend not in (None, keras.backend.backend()):
            options = {"--select": select, "--expect": expected}
            options["--json"] = [str(as_json)] if as_json is not None else []
            raise typer.Exit(_ended_on(backend, optimizer, options))
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        factory = _imported(optimizer)
        results = _results(console, factory, select, dict(map(_reason, expected or [])))
    except _NOT_RUNNABLE as error:
        console.print(f"[red]Cannot run the checks:[/red] {error}", highlight=False)
        raise typer.Exit(NOT_RUNNABLE) from error
    _show(console, optimizer, results)
    if as_json is not None:
        as_json.write_text(json.dumps(_written(optimizer, results), indent=1))
    failed = any(result["status"] == "failed" for result in results)
    raise typer.Exit(FAILED if failed else PASSED)


_NOT_RUNNABLE = (ImportError, AttributeError, ValueError, OSError)


def _ended_on(
    backend: str, optimizer: str, options: dict[str, list[str] | None]
) -> int:
    """What the command ends with on another backend.

    Raises:
        ValueError: There is no such backend, or it is not installed.
    """
    if backend not in BACKENDS or importlib.util.find_spec(backend) is None:
        raise ValueError(
            f"Expected a backend that is installed, of {', '.join(BACKENDS)}. "
            f"Received: {backend!r}"
        )
    words = [
        w for name, given in options.items() for x in given or () for w in (name, x)
    ]
    command = [sys.executable, "-m", "keras_textbook_opt.testing", optimizer, *words]
    environment = os.environ | {"KERAS_BACKEND": backend}
    return subprocess.run(command, env=environment).returncode


def _imported(name: str) -> Any:
    """What `module:name` names.

    Raises:
        ValueError: It is not of that form, or names nothing that can be called.
    """
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise ValueError(
            "Expected an optimizer as `module:Class`, such as `keras.optimizers:Adam`. "
            f"Received: {name!r}"
        )
    sys.path.insert(0, os.getcwd())
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(
            f"Expected a class or a function. Received: {name} is {found!r}"
        )
    return found


def _reason(given: str) -> tuple[str, str]:
    name, _, reason = given.partition("=")
    return name, reason or "expected"


def _results(
    console: Console, factory: Any, select: list[str] | None, reasons: dict[str, str]
) -> list[Any]:
    total = len(registry.selected(select))
    columns = (
        TextColumn("{task.description:50.50}"),
        BarColumn(),
        MofNCompleteColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("making the optimizer", total=total)

        def advance(**result: Any) -> None:
            progress.update(task, advance=1, description=result["check_name"])

        return check_optimizer(
            factory,
            on_fail=None,
            on_skip=None,
            select=select,
            expected_failed_checks=reasons,
            callback=advance,
        )


def _show(console: Console, optimizer: str, results: list[Any]) -> None:
    """A table of what did not pass, and one line with the counts."""
    others = [result for result in results if result["status"] != "passed"]
    if others:
        table = Table("check", "status", "what to know", title=optimizer)
        for result in sorted(others, key=lambda r: list(STYLES).index(r["status"])):
            status = result["status"]
            table.add_row(
                result["check_name"],
                f"[{STYLES[status]}]{status}[/]",
                one_line(result),
            )
        console.print(table, highlight=False)
    counts = [
        f"{sum(result['status'] == status for result in results)} {status}"
        for status in STYLES
    ]
    seconds = sum(result["seconds"] for result in results)
    console.print(
        f"{optimizer}, Keras {keras.__version__} on {keras.backend.backend()}: "
        f"{', '.join(counts)}, in {seconds:.0f} s",
        highlight=False,
    )


def one_line(result: Any) -> str:
    """What came, and what to do about it; what a skipped check waits for."""
    said = str(result["exception"])
    came = re.split(r"\nTo mend it: ", said, maxsplit=1)
    mend = came[1].split("\nTo see it again:")[0] if len(came) > 1 else ""
    if result["status"] == "xfail":
        return f"{result['expected_to_fail_reason']} ({' '.join(came[0].split())})"
    return " ".join(f"{came[0]} → {mend}".split()) if mend else " ".join(said.split())


def _written(optimizer: str, results: list[Any]) -> dict[str, Any]:
    """The results as JSON has them, with the versions that they hold for."""
    return {
        "optimizer": optimizer,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "results": [
            {
                **result,
                "optimizer": optimizer,
                "exception": result["exception"] and str(result["exception"]),
            }
            for result in results
        ],
    }


if __name__ == "__main__":
    app()
