"""A program in a process of its own: its input and its answer are pickled."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import keras

from keras_textbook_opt.testing import backend
from keras_textbook_opt.testing.verdicts import CheckFailed, CheckSkipped

TIMEOUT = 300


def started(program: str, *given: Any) -> subprocess.Popen:
    """Start a program of this package with the backend of this process.

    Raises:
        CheckSkipped: No other process can import what is given.
    """
    environment = os.environ | {
        "KERAS_BACKEND": keras.backend.backend(),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    module = f"keras_textbook_opt.testing.programs.{program}"
    with tempfile.TemporaryFile() as file:
        file.write(_pickled(given))
        file.seek(0)
        return subprocess.Popen(
            [sys.executable, "-m", module],
            env=environment,
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


def _pickled(given: tuple) -> bytes:
    try:
        return pickle.dumps(given)
    except Exception as error:
        raise CheckSkipped(
            "another process cannot import the optimizer: it has to be a class or a "
            f"function of a module, or a functools.partial of one ({error})"
        ) from error


def answer_of(process: subprocess.Popen) -> Any:
    """Wait for a program, and return its answer.

    Raises:
        CheckFailed: The program failed, or did not end.
    """
    try:
        answer, errors = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise CheckFailed(f"Another process did not end after {TIMEOUT} s.") from error
    finally:
        end(process)
    if process.returncode:
        last = errors.decode(errors="replace").strip().splitlines()[-3:]
        raise CheckFailed("\n".join(["Another process failed:", *last]))
    return pickle.loads(answer)


def end(process: subprocess.Popen) -> None:
    """End a program that may still run, and close its pipes."""
    with process:
        process.kill()


def answer(program: Callable[..., Any]) -> None:
    """Call `program` with what the other process has given, and send the result."""
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    with os.fdopen(os.dup(1), "wb") as channel:
        os.dup2(2, 1)  # what the optimizer prints is not a part of the answer
        given = pickle.load(sys.stdin.buffer)
        backend.leave_tensorflow_out()
        pickle.dump(program(*given), channel)


def _end_with(parent: int) -> None:
    """End this process after its parent, which may have been killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
