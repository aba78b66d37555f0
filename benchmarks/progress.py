"""The bar that a command shows while it works."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def bar(console: Console, width: int) -> Progress:
    """Return a bar behind a description of `width` characters."""
    return Progress(
        TextColumn(f"{{task.description:{width}}}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
