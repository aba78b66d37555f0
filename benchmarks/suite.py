"""A benchmark from start to end: its parts in turn, each written when it is complete.

A suite is a folder here. `command.parts(plan)` returns functions that measure rows;
`pages.publish(folder)` writes the report, and returns the text to print.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from benchmarks import rows, setting

FULL, QUICK = "full", "quick"

Parts = Mapping[str, Callable[[], pd.DataFrame]]


def carry_out(
    parts: Parts, plan: str, folder: Path, store: Callable = rows.store
) -> None:
    """Measure the parts and store each when it is complete; other parts stay."""
    for number, (part, measure) in enumerate(parts.items(), 1):
        here, start = setting.here(plan), time.perf_counter()
        store(folder, part, measure())
        here["seconds"] = round(time.perf_counter() - start)
        setting.write(setting.read(folder) | {part: here}, folder)
        say(f"[{number}/{len(parts)}] {part}: {here['seconds']} s")


def say(text: str) -> None:
    """Report progress."""
    print(text, file=sys.stderr, flush=True)


def hide_native_logs() -> None:
    """Hide the messages that libraries write below Python; its own stderr stays."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
