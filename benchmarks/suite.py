"""A benchmark from start to end: its parts in turn, and what is written of them.

A suite is a folder here with a `pages.publish(folder)`, which makes the pages and the
plots of a results folder out of its rows and setting, and returns what is to be said.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from benchmarks import INTERRUPTED, rows, setting
from benchmarks.rows import Row

RUN = "run"
WIDTH = 40

Found = TypeVar("Found")
# Moves the bar so far, and may say what is done now.
Advance = Callable[..., None]
Publish = Callable[[Path], str]


@dataclass(frozen=True)
class Part(Generic[Found]):
    """What is measured as a whole: it is kept when it is complete, and not before.

    Args:
        title: What it is called where it is missing.
        steps: How far the progress bar moves.
        measure: Returns what was found; it is given what moves the bar.
    """

    title: str
    steps: float
    measure: Callable[[Advance], Found]


def carry_out(
    parts: Sequence[Part[list[Row]]],
    folder: Path,
    publish: Publish,
    console: Console,
    **facts: Any,
) -> int:
    """Measure the parts, write and print what was found, and return the exit code.

    Ctrl-C ends it; the parts that were complete are written all the same.
    """
    with setting.of_a_run(**facts) as run:
        found, run["missing"] = in_turn(parts, console)
    if found:
        measured = (row for of_part in found for row in of_part)
        rows.write(rows.frame(measured), folder)
        setting.write({RUN: run}, folder)
        print(publish(folder), flush=True)
    return ended(found, run["missing"], folder, console)


def in_turn(
    parts: Sequence[Part[Found]], console: Console
) -> tuple[list[Found], list[str]]:
    """Return what the parts found until Ctrl-C, and the titles of the others."""
    found: list[Found] = []
    with suppress(KeyboardInterrupt), _bar(console) as bar:
        task = bar.add_task("", total=sum(part.steps for part in parts))
        for part in parts:

            def advance(steps: float, title: str = part.title) -> None:
                bar.update(task, advance=steps, description=title[:WIDTH])

            advance(0)
            found.append(part.measure(advance))
            bar.console.print(f"Done: {part.title}", soft_wrap=True, highlight=False)
    return found, [part.title for part in parts[len(found) :]]


def _bar(console: Console) -> Progress:
    _, *columns = Progress.get_default_columns()
    description = TextColumn(f"{{task.description:{WIDTH}}}")
    return Progress(description, *columns, TimeElapsedColumn(), console=console)


def ended(
    found: Sequence[Any], missing: Sequence[str], folder: Path, console: Console
) -> int:
    """Say where the results are, and return the exit code."""
    parts = f"{len(found)} of {len(found) + len(missing)} parts were complete"
    where = f"the results are in {folder}" if found else "nothing was written"
    said = f"Interrupted: {parts}, {where}" if missing else f"Done: {where}"
    console.print(said, soft_wrap=True, highlight=False)
    return INTERRUPTED if missing else 0
