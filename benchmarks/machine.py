"""What a result has to say about where it was measured."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence

import cpuinfo
import psutil

PACKAGES = ("keras-textbook-opt", "keras", "tensorflow", "jax", "torch", "numpy")


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of those of the packages that are installed."""
    installed = {each.name for each in importlib.metadata.distributions()}
    return {"python": platform.python_version()} | {
        package: importlib.metadata.version(package)
        for package in packages
        if package in installed
    }


def machine() -> dict[str, str | int | float]:
    """Return the processor, its cores, the memory and the operating system."""
    return {
        "processor": cpuinfo.get_cpu_info().get("brand_raw", platform.machine()),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
