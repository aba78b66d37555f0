"""The pages of a results folder: its main table, and the report around it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import setting

TABLE = "table.md"
REPORT = "README.md"


def write(
    folder: Path,
    *,
    title: str,
    command: str,
    table: str,
    printed: str,
    sections: Iterable[str] = (),
    pictures: Sequence[str] = (),
) -> str:
    """Write the main table by itself, and the report; return the text to print.

    `table` is in Markdown, for the report and for a page of the documentation;
    `printed` is for a terminal.
    """
    shown = [f"![{Path(it).stem.replace('_', ' ')}]({it})" for it in pictures]
    written = f"Written by `python -m benchmarks {command}`."
    where = f"## Where\n\n{setting.in_words(folder)}"
    page = [f"# {title}", written, table.strip(), *shown, *sections, where]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TABLE).write_text(table.strip() + "\n", encoding="utf-8")
    (folder / REPORT).write_text("\n\n".join(page) + "\n", encoding="utf-8")
    files = [f"  {folder / each}" for each in (*pictures, REPORT)]
    return "\n".join([printed, "", "Written:", *files])


def table(rows: Any, style: str = "pipe") -> str:
    """Return a table of text in Markdown, or in another style of `tabulate`."""
    frame = pd.DataFrame(rows).fillna("")
    return frame.to_markdown(index=False, disable_numparse=True, tablefmt=style)


def number(figure: float) -> str:
    """Return three digits, two if the figure is below 1."""
    if np.isnan(figure):
        return "?"
    if figure >= 1e6:
        return f"{figure:.2e}"
    if figure >= 100:
        return f"{figure:,.0f}"
    if figure >= 10:
        return f"{figure:.1f}"
    if figure >= 0.1 or figure == 0:
        return f"{figure:.2f}"
    return np.format_float_positional(figure, 2, fractional=False, trim="-")


def spread(row: Any) -> str:
    """Return the median of a row, with the smallest and the largest figure."""
    return f"{number(row.value)} ({number(row.low)}–{number(row.high)})"
