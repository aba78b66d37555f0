"""A program in a process of its own, and the arrays that it reads and writes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_textbook_opt.testing.verdicts import CheckSkipped

TIMEOUT = 300


def pickled(subject: Any) -> bytes:
    """What another process makes the optimizer from.

    Raises:
        CheckSkipped: No other process can import it.
    """
    try:
        return pickle.dumps(subject)
    except Exception as error:
        raise CheckSkipped(
            "another process cannot import the optimizer: it has to be a class or a "
            f"function of a module, or a functools.partial of one ({error})"
        ) from error


def started(program: str, folder: Path) -> subprocess.Popen:
    """A program of this package on a folder, with the backend of this process."""
    environment = os.environ | {
        "KERAS_BACKEND": keras.backend.backend(),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    module = f"keras_textbook_opt.testing.programs.{program}"
    return subprocess.Popen(
        [sys.executable, "-m", module, folder],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def error_of(process: subprocess.Popen) -> str:
    """Wait for a program; its last lines if it failed, else an empty text."""
    try:
        output, _ = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        return f"no end after {TIMEOUT} s"
    return "\n".join(output.strip().splitlines()[-3:]) if process.returncode else ""


def write(folder: Path, name: str, arrays: list[np.ndarray]) -> None:
    """Write a list of arrays into a file."""
    named: dict[str, Any] = {str(k): array for k, array in enumerate(arrays)}
    np.savez(folder / name, **named)


def read(folder: Path, name: str) -> list[np.ndarray]:
    """The list that `write` wrote."""
    with np.load(folder / name) as arrays:
        return [arrays[str(k)] for k in range(len(arrays.files))]
