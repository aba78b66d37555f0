"""`python -m keras_textbook_opt.testing mypackage.optimizers:MyLion`: the command.

A process has one backend of Keras, which is imported with this package. Another backend
gets a process of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import keras
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from keras_textbook_opt.testing import conformance, registry, report
from keras_textbook_opt.testing.backend import leave_tensorflow_out
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import telling_line

PASSED, FAILED, COULD_NOT_RUN = 0, 1, 2
BACKENDS = ("tensorflow", "jax", "torch", "numpy")

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Words = list[str] | None


@app.command()
def check(
    optimizer: Annotated[
        str | None, typer.Argument(help="For example `mypackage.optimizers:MyLion`.")
    ] = None,
    select: Annotated[
        Words,
        typer.Option(
            help="A check, a pattern such as `check_sparse_*`, a group such as "
            "`group:state`, or `quick`. Repeatable."
        ),
    ] = None,
    deselect: Annotated[
        Words, typer.Option(help="The same for checks to leave out.")
    ] = None,
    baseline: Annotated[
        Words,
        typer.Option(
            help="An optimizer such as `keras.optimizers:SGD`. Failures that it has "
            "for the same reason are reported as inherited."
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="The equation in NumPy: `module:function`."),
    ] = None,
    expect: Annotated[
        Words,
        typer.Option(help="A check that is known to fail: `check_name=reason`."),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(BACKENDS)}.")
    ] = None,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="A file for the results.")
    ] = None,
    stop: Annotated[
        bool, typer.Option("-x", help="Stop at the first failure.")
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", help="Show messages in full.")] = False,
    list_checks: Annotated[
        bool, typer.Option("--list", help="List the checks by group.")
    ] = False,
) -> None:
    """Run conformance checks on OPTIMIZER.

    Exit status: 0 no failures, 1 failures, 2 could not run.
    """
    console = Console()
    if list_checks:
        report.show_list(console)
        raise typer.Exit(PASSED)
    if backend is not None and backend != keras.backend.backend():
        raise typer.Exit(_on_backend(console, backend))
    logging.disable(logging.WARNING)
    if optimizer is None:
        _stop(console, "Name an optimizer, for example mypackage.optimizers:MyLion.")
    factory = _made_from(console, optimizer)
    try:
        reasons = dict(map(_reason, expect or []))
        conformance.check_names(reasons)
        checks = list(
            conformance.optimizer_checks_generator(
                factory,
                reference=_imported(console, reference) if reference else None,
                select=select,
                deselect=deselect,
                baseline=[_made_from(console, name) for name in baseline or []],
            )
        )
        leave_tensorflow_out()
        file = report.Written(as_json, optimizer) if as_json else None
        results = _results(console, checks, reasons, file, stop)
    except (ValueError, OSError) as error:
        _stop(console, str(error))
    report.show(console, results, verbose)
    report.show_summary(console, optimizer, results)
    raise typer.Exit(_exit_code(console, results))


def _stop(console: Console, said: str) -> NoReturn:
    console.print(f"[red]Could not run the checks:[/red] {said}", highlight=False)
    raise typer.Exit(COULD_NOT_RUN)


def _on_backend(console: Console, backend: str) -> int:
    """The exit status of the same command on another backend."""
    if backend not in BACKENDS or importlib.util.find_spec(backend) is None:
        _stop(
            console,
            f"backend {backend!r} is not installed, or not one of "
            f"{', '.join(BACKENDS)}.",
        )
    command = [sys.executable, "-m", "keras_textbook_opt.testing", *sys.argv[1:]]
    environment = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(command, env=os.environ | environment).returncode


def _made_from(console: Console, name: str) -> Any:
    """The factory that `name` names, if it makes an optimizer."""
    factory = _imported(console, name)
    try:
        made = factory(learning_rate=0.01)
    except Exception as error:
        _stop(
            console, f"{name}(learning_rate=0.01) raises {_described(error, factory)}"
        )
    if not isinstance(made, keras.optimizers.Optimizer):
        _stop(
            console,
            f"{name} makes a {type(made).__name__}, not a keras.optimizers.Optimizer.",
        )
    try:
        Subject.of(factory)
    except NotImplementedError as error:
        _stop(console, f"{name} is abstract: a step raises {_described(error)}")
    except Exception:  # the first check reports it
        return factory
    return factory


def _imported(console: Console, name: str) -> Callable[..., Any]:
    """The class or function that `module:name` names."""
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        _stop(
            console,
            "Expected `module:name`, such as `keras.optimizers:Adam`. Received: "
            f"{name!r}",
        )
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        _stop(console, f"{name} cannot be imported: {_described(error)}")
    if not callable(found):
        _stop(console, f"{name} is not a class or a function, but {found!r}")
    return found


def _described(error: BaseException, factory: Any = None) -> str:
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error}"
    place = registry.place(error, factory)
    return telling_line(error) + (f" (at {place})" if place else "")


def _reason(given: str) -> tuple[str, str]:
    name, _, reason = given.partition("=")
    return name, reason or "no reason given"


def _results(
    console: Console,
    checks: list[tuple[Any, conformance.Check]],
    reasons: dict[str, str],
    file: report.Written | None,
    stop: bool,
) -> list[conformance.Result]:
    columns = (
        TextColumn("{task.description:46.46}"),
        BarColumn(20),
        MofNCompleteColumn(),
    )
    results = []
    with (
        Progress(*columns, console=console, transient=True) as progress,
        contextlib.closing(conformance.results_of(checks, reasons)) as found,
    ):
        task = progress.add_task("", total=len(checks))
        for result in found:
            results.append(result)
            progress.update(task, advance=1, description=result["check_name"])
            if file is not None:
                file.add(result)
            if stop and result["status"] in conformance.FAILURES:
                break
    if file is not None:
        file.finish()
    return results


def _exit_code(console: Console, results: list[conformance.Result]) -> int:
    found = {result["status"] for result in results}
    if found & {"failed", "xpass"}:
        return FAILED
    if "error" in found:
        return COULD_NOT_RUN
    if found <= {"skipped"}:
        console.print("[red]No check ran.[/red]")
        return COULD_NOT_RUN
    return PASSED


if __name__ == "__main__":
    app()
