"""The parts of the benchmark, each measured in new processes on each backend."""

import importlib
import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context

import pandas as pd

from benchmarks import rows, setting, suite
from benchmarks.steps.plans import PARTS, PLANS
from benchmarks.suite import Parts

# Unless the environment says otherwise, on the processor and without logs.
DEFAULTS = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "JAX_PLATFORMS": "cpu",
    "KERAS_TORCH_DEVICE": "cpu",
}


def parts(plan: str) -> Parts:
    """Return the parts that are measured, on the backends that are installed."""
    found = [name for name in PARTS if any(map(find_spec, PARTS[name]))]
    return {name: partial(measure, name, plan) for name in found}


def measure(part: str, plan: str) -> pd.DataFrame:
    """Return the rows of a part."""
    most, found = setting.cores(), []
    both = part == "models" and PLANS[plan].on_one_core and most > 1
    for backend in filter(find_spec, PARTS[part]):
        for cores in [most, 1] if both else [most]:
            suite.say(f"{part} on {backend}, cores: {cores}")
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                arguments = part, backend, cores, plan
                found.append(process.submit(on_backend, *arguments).result())
    return pd.concat(found, ignore_index=True)


def on_backend(part: str, backend: str, cores: int, plan: str) -> pd.DataFrame:
    """Return what this process measures, which has imported no backend yet."""
    os.environ |= {**DEFAULTS, **os.environ, "KERAS_BACKEND": backend}
    if hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, mine[:cores])
    suite.hide_native_logs()
    warnings.filterwarnings("ignore", "Converting sparse IndexedSlices")
    module = importlib.import_module(f"benchmarks.steps.{part}")
    its_backend = importlib.import_module(f"benchmarks.steps.on_{backend}")
    on_one_core = {"on_one_core": cores == 1} if part == "models" else {}
    found = rows.frame(module.measure(PLANS[plan], its_backend, **on_one_core))
    return found.assign(part=part, cores=str(cores))
