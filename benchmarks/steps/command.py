"""The benchmark's parts, each measured in a process of its own on each backend."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console

from benchmarks import machine, rows, setting, suite
from benchmarks.rows import Row
from benchmarks.steps import pages, peers, probe
from benchmarks.steps.plans import PARTS, Plan
from benchmarks.suite import Advance, Part

PACKAGES = (*machine.PACKAGES, *peers.PACKAGES)


class MixedPlansError(Exception):
    """The folder holds results of another plan, which are not to be overwritten."""


def carry_out(plan: Plan, only: Sequence[str], folder: Path, console: Console) -> int:
    """Measure these parts, write the results, and return the exit code.

    The folder's other parts stay; a part for which no backend is installed is left out.

    Raises:
        MixedPlansError: The folder holds the results of another plan.
    """
    for part, earlier in setting.read(folder).items():
        if earlier["plan"] != plan.name:
            raise MixedPlansError(
                f"{folder} holds the part {part!r} of a {earlier['plan']} run, and "
                f"this is a {plan.name} run"
            )
    parts = [
        Part(part, len(backends(part)), partial(measure, plan, part, folder))
        for part in filter(backends, only)
    ]
    said, missing = suite.in_turn(parts, console)
    if said:
        print(said[-1], flush=True)
    return suite.ended(said, missing, folder, console)


def backends(part: str) -> list[str]:
    """Return the backends on which the part is measured here."""
    return [backend for backend in PARTS[part] if find_spec(backend)]


def measure(plan: Plan, part: str, folder: Path, advance: Advance) -> str:
    """Measure the part, put it into the folder, and return what there is to say."""
    found: list[Row] = []
    devices: dict[str, str] = {}
    facts = {"repeats": asdict(plan.repeats), "devices": devices}
    versions = machine.versions(PACKAGES)
    with setting.of_a_run(plan.name, versions=versions, **facts) as its_setting:
        for backend in backends(part):
            devices[backend], its_rows = on_backend(plan, backend, part, advance)
            found += its_rows
    all_rows = rows.with_part(rows.read(folder), found)
    places = all_rows["part"].map(list(PARTS).index)
    rows.write(all_rows.iloc[places.argsort(kind="stable")], folder)
    settings = setting.read(folder) | {part: its_setting}
    setting.write({it: settings[it] for it in PARTS if it in settings}, folder)
    return pages.publish(folder)


def on_backend(
    plan: Plan, backend: str, part: str, advance: Advance
) -> tuple[str, list[Row]]:
    """Return the device, and what a new process measures on it."""
    found: list[Row] = []
    probe.BUILD.mkdir(exist_ok=True)
    probe.LOG.unlink(missing_ok=True)
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        try:
            device, titles = process.submit(probe.begin, plan, backend, part).result()
            for piece, title in enumerate(titles):
                advance(0, title)
                found += process.submit(probe.measure, piece).result()
                advance(1 / len(titles), title)
        except BrokenProcessPool:
            said = probe.LOG.read_text() if probe.LOG.exists() else ""
            raise RuntimeError(f"{part} on {backend} was ended. {said}") from None
    return device, found
