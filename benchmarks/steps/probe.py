"""Measures one part on one backend, in a process of its own.

    python -m benchmarks.steps.probe torch dense full [--seconds 0.5]

Each line that it prints is JSON: first what it runs on and how much there is to do,
then for each piece of work its title and, when it is done, its rows.
"""

import contextlib
import gc
import importlib
import json
import os
import sys
import warnings
from dataclasses import asdict
from typing import Annotated, TextIO

import typer

from benchmarks.steps.plans import PLANS

ON_THE_PROCESSOR = {
    "CUDA_VISIBLE_DEVICES": "",
    "JAX_PLATFORMS": "cpu",
    "KERAS_TORCH_DEVICE": "cpu",
}


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    backend: str,
    part: str,
    plan: str,
    seconds: Annotated[float | None, typer.Option()] = None,
) -> None:
    """Measure the part, and print it."""
    os.environ |= {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    os.environ |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    of_plan = PLANS[plan].with_seconds(seconds)
    if not of_plan.accelerator:
        os.environ |= ON_THE_PROCESSOR
    on_backend = importlib.import_module(f"benchmarks.steps.on_{backend}")
    module = importlib.import_module(f"benchmarks.steps.{part}")
    printed = sys.stdout
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Converting sparse IndexedSlices")
        pieces = list(module.work(of_plan, on_backend))
        _say(printed, device=on_backend.device(), pieces=len(pieces))
        for title, measure in pieces:
            _say(printed, title=title)
            _say(printed, rows=[asdict(row) for row in measure()])
            importlib.import_module("keras").backend.clear_session()
            gc.collect()


def _say(printed: TextIO, **fact: object) -> None:
    print(json.dumps(fact), file=printed, flush=True)


if __name__ == "__main__":
    app()
