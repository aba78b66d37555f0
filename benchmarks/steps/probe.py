"""What a process does that measures one part on one backend."""

import gc
import importlib
import os
import warnings
from pathlib import Path

from benchmarks.rows import Row
from benchmarks.steps.contender import Work
from benchmarks.steps.plans import Plan

BUILD = Path(__file__).parents[2] / "build"
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
ON_THE_PROCESSOR = {
    "CUDA_VISIBLE_DEVICES": "",
    "JAX_PLATFORMS": "cpu",
    "KERAS_TORCH_DEVICE": "cpu",
}

# What libraries print, which would tear the progress bar.
LOG = BUILD / "steps.log"

_pieces: list[Work] = []


def begin(plan: Plan, backend: str, part: str) -> tuple[str, list[str]]:
    """Return the name of the device, and the titles of the pieces of work."""
    with LOG.open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    where = {} if plan.accelerator else ON_THE_PROCESSOR
    os.environ |= {"KERAS_BACKEND": backend, **QUIET, **where}
    on_backend = importlib.import_module(f"benchmarks.steps.on_{backend}")
    module = importlib.import_module(f"benchmarks.steps.{part}")
    warnings.filterwarnings("ignore", "Converting sparse IndexedSlices")
    _pieces.extend(module.work(plan, on_backend))
    return on_backend.device(), [title for title, _ in _pieces]


def measure(piece: int) -> list[Row]:
    _, measured = _pieces[piece]
    found = list(measured)
    importlib.import_module("keras").backend.clear_session()
    gc.collect()
    return found
