"""Where, when and with which versions each part was measured, in `setting.json`."""

import datetime
import importlib.metadata
import json
import os
import platform
import re
from functools import cache
from pathlib import Path
from typing import Any

import cpuinfo
import psutil

FILE = "setting.json"
PACKAGES = ("keras-textbook-opt", "keras", "tensorflow", "jax", "torch", "optax")

Setting = dict[str, Any]


def here(plan: str) -> Setting:
    """Return the setting of a part that starts now."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    load = round(psutil.getloadavg()[0], 1)
    return {"plan": plan, "date": str(today), "load": load, "where": where()}


@cache
def where() -> str:
    """Return the processor, its cores, the memory, the system and the versions."""
    processor = cpuinfo.get_cpu_info().get("brand_raw", platform.machine())
    memory = psutil.virtual_memory().total / 2**30
    installed = {each.name: each.version for each in importlib.metadata.distributions()}
    versions = [f"{name} {installed[name]}" for name in PACKAGES if name in installed]
    machine = f"{processor}, {cores()} cores, {memory:.0f} GiB, {platform.system()}"
    return ", ".join([machine, f"Python {platform.python_version()}", *versions])


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read(folder: Path) -> dict[str, Setting]:
    """Return the setting of each part in the folder."""
    file = folder / FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def write(settings: dict[str, Setting], folder: Path) -> None:
    """Write the setting of each part."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(settings, indent=1, ensure_ascii=False)
    (folder / FILE).write_text(content + "\n", encoding="utf-8")


def in_short(folder: Path) -> str:
    """Return the versions of this package and the processors, for a sentence."""
    places = {each["where"] for each in read(folder).values()}
    versions = {re.findall(r"keras-textbook-opt ([^,]+)", each)[0] for each in places}
    machines = {", ".join(each.split(", ")[:2]) for each in places}
    both = (" and ".join(sorted(each)) for each in (versions, machines))
    return "version {} on {}".format(*both)


def in_words(folder: Path) -> str:
    """Return a sentence for a report: the plan, the times and the places."""
    each = list(read(folder).values())
    plans, dates, places = (
        " and ".join(sorted({one[name] for one in each}))
        for name in ("plan", "date", "where")
    )
    seconds = sum(one["seconds"] for one in each)
    load = max((one["load"] for one in each), default=0)
    return (
        f"Plan: {plans}. Measured on {dates} in {seconds:,} s, with a load average of "
        f"at most {load} before a part, on {places}."
    )
