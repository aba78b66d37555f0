"""The bar that a command shows while it works."""

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn


def bar(console: Console, width: int) -> Progress:
    """Return a bar behind a description of `width` characters."""
    _, *columns = Progress.get_default_columns()
    description = TextColumn(f"{{task.description:{width}}}")
    return Progress(description, *columns, TimeElapsedColumn(), console=console)
