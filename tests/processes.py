"""Programs in fresh processes, side by side, and what they said where one fails."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
TIMEOUT = 900
# Bit-identical results are a promise of one device, so a GPU stays out of sight.
SETTINGS = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def run(*programs: tuple[str, ...]) -> None:
    """Run each `(module, *arguments)` in a process of its own, all at the same time.

    Raises:
        AssertionError: A program ended with an error. The message is its output.
    """
    with ThreadPoolExecutor(len(programs)) as pool:
        failures = [failure for failure in pool.map(_failure, programs) if failure]
    assert not failures, "\n\n".join(failures)


def _failure(program: tuple[str, ...]) -> str | None:
    """Run one program; what it said if it ended with an error, `None` if it did not."""
    ended = subprocess.run(
        [sys.executable, "-m", *program],
        cwd=ROOT,
        env=os.environ | SETTINGS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )
    if ended.returncode == 0:
        return None
    return f"{' '.join(program)} ended with {ended.returncode}:\n{ended.stdout}"
