"""Measures one part on one backend, in a process of its own.

    python -m benchmarks.steps.probe torch dense full 0.5

Each line that it prints is JSON with a title of what it measures: first with the device
that it runs on, then before each piece of work, and after it with its rows and its
share of the whole.
"""

import contextlib
import gc
import importlib
import json
import os
import sys
import warnings
from dataclasses import asdict
from functools import partial

import typer

from benchmarks.steps.plans import PLANS

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
ON_THE_PROCESSOR = {
    "CUDA_VISIBLE_DEVICES": "",
    "JAX_PLATFORMS": "cpu",
    "KERAS_TORCH_DEVICE": "cpu",
}


def main(backend: str, part: str, plan: str, seconds: float) -> None:
    """Measure the part, and print it."""
    of_plan = PLANS[plan].with_seconds(seconds)
    where = {} if of_plan.accelerator else ON_THE_PROCESSOR
    os.environ |= {"KERAS_BACKEND": backend, **QUIET, **where}
    on_backend = importlib.import_module(f"benchmarks.steps.on_{backend}")
    module = importlib.import_module(f"benchmarks.steps.{part}")
    say = partial(print, file=sys.stdout, flush=True)
    warnings.filterwarnings("ignore", "Converting sparse IndexedSlices")
    with contextlib.redirect_stdout(sys.stderr):
        pieces = list(module.work(of_plan, on_backend))
        say(
            json.dumps({"title": f"{part} on {backend}", "device": on_backend.device()})
        )
        for title, measured in pieces:
            say(json.dumps({"title": title}))
            found = [asdict(row) for row in measured]
            share = 1 / len(pieces)
            say(json.dumps({"title": title, "rows": found, "share": share}))
            importlib.import_module("keras").backend.clear_session()
            gc.collect()


if __name__ == "__main__":
    typer.run(main)
