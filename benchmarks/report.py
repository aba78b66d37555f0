"""The pages of a results folder: its table, and the report around it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

TABLE = "table.md"
REPORT = "README.md"


def write(
    folder: Path,
    *,
    title: str,
    command: str,
    table: str,
    sections: Iterable[str] = (),
    plots: Sequence[str] = (),
) -> None:
    """Write the table by itself, and a report of all there is to say.

    Args:
        folder: Where to.
        title: The report's heading.
        command: What is typed after `python -m benchmarks` to get it.
        table: What the README may show, in Markdown.
        sections: Headings, paragraphs and further tables, in order.
        plots: The names of the plots in the folder.
    """
    pictures = [f"![{Path(plot).stem.replace('_', ' ')}]({plot})" for plot in plots]
    written = f"Written by `python -m benchmarks {command}`."
    page = [f"# {title}", written, table.strip(), *pictures, *sections]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TABLE).write_text(table.strip() + "\n", encoding="utf-8")
    (folder / REPORT).write_text("\n\n".join(page) + "\n", encoding="utf-8")


def table(rows: Any) -> str:
    """Return a table in Markdown of what is a `DataFrame`, or makes one, of text.

    Rows come under the union of their columns, and a missing cell as nothing.
    """
    frame = pd.DataFrame(rows).fillna("")
    return frame.to_markdown(index=False, disable_numparse=True)


def notes(here: Mapping[str, Any]) -> list[str]:
    """Return what must be said of a run that is not the full plan, or not all of it."""
    short = "**Shortened:** fewer epochs, so that no training comes to its end."
    return [short] * (here["plan"] != "full") + missing(here["missing"])


def missing(names: Sequence[str]) -> list[str]:
    """Return the paragraph that names what an interrupted run has not, if anything."""
    return [f"**Interrupted.** Missing: {'; '.join(names)}."] if names else []


def number(figure: float) -> str:
    """Return three digits, two for the small, and never an exponent."""
    if np.isnan(figure):
        return "?"
    if figure >= 100:
        return f"{figure:,.0f}"
    if figure >= 10:
        return f"{figure:.1f}"
    if figure >= 0.1 or figure == 0:
        return f"{figure:.2f}"
    return np.format_float_positional(figure, 2, fractional=False, trim="-")


def between(lower: float, median: float, upper: float) -> str:
    """Return the median, with the quartiles where they differ."""
    if lower == upper:
        return number(median)
    return f"{number(median)} ({number(lower)} … {number(upper)})"


def spread(losses: Any, digits: int) -> str:
    """Return the median, with the smallest and the largest."""
    middle, low, high = np.median(losses), np.min(losses), np.max(losses)
    return f"{middle:.{digits}f} ({low:.{digits}f} … {high:.{digits}f})"
