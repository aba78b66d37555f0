"""Programs in processes of their own, which end by themselves."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_textbook_opt.testing.verdicts import CheckSkipped

TIMEOUT = 300


def pickled(subject: Any) -> bytes:
    """What another process makes the optimizer from.

    Raises:
        CheckSkipped: It was made in a place that no other process can import.
    """
    try:
        return pickle.dumps(subject)
    except Exception as error:
        raise CheckSkipped(
            "waits for a factory that another process can import: a class or a "
            f"function of a module, or a functools.partial of one ({error})"
        ) from error


def run(program: str, folder: Path) -> None:
    """Run a program of this package on a folder, on the backend of this process.

    Raises:
        RuntimeError: It ended with an error, or took too long.
    """
    environment = os.environ | {
        "KERAS_BACKEND": keras.backend.backend(),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            f"keras_textbook_opt.testing.programs.{program}",
            folder,
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )
    if ended.returncode:
        raise RuntimeError(_last_lines(ended.stdout))


def _last_lines(output: str) -> str:
    return "\n".join(output.strip().splitlines()[-3:])


def write(folder: Path, name: str, arrays: list[np.ndarray]) -> None:
    """Put a list of arrays into a file."""
    named: dict[str, Any] = {str(k): array for k, array in enumerate(arrays)}
    np.savez(folder / name, **named)


def read(folder: Path, name: str) -> list[np.ndarray]:
    """The list that `write` put there."""
    with np.load(folder / name) as arrays:
        return [arrays[str(k)] for k in range(len(arrays.files))]


def folder() -> tempfile.TemporaryDirectory:
    """A folder that goes when it is left."""
    return tempfile.TemporaryDirectory(prefix="check_optimizer_")
