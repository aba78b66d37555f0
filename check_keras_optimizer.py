"""The command `check-keras-optimizer`: `python -m keras_textbook_opt.testing`, started.

It imports no backend before it has read `--backend`, and hides their log lines. It is
not in the package, because the package imports Keras, and Keras its backend.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator


def main() -> None:
    """Choose the backend, then run the command."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--backend")
    backend = parser.parse_known_args()[0].backend
    if backend is not None:
        os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _silent():
            import keras

            from keras_textbook_opt.testing.__main__ import app

            keras.ops.ones(())  # the first operation looks for devices
    except (ImportError, ValueError) as error:
        print(f"Could not run the checks: {error}")
        if isinstance(error, ModuleNotFoundError):
            extras = ",".join(["testing", *([backend] if backend else [])])
            print(f'Run pip install "keras-textbook-opt[{extras}]"')
        sys.exit(2)
    app()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Discard the log lines that a backend prints when it starts."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


if __name__ == "__main__":
    main()
