"""The benchmark's parts, each measured in a process of its own on each backend."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import machine, rows, setting, suite
from benchmarks.rows import Row
from benchmarks.steps import pages, peers
from benchmarks.steps.plans import PARTS, Plan
from benchmarks.suite import Advance, Part

ROOT = Path(__file__).parents[2]
PLACES = {part: place for place, part in enumerate(PARTS)}
PACKAGES = (*machine.PACKAGES, *peers.PACKAGES)


class MixedPlansError(Exception):
    """The folder holds results of another plan, which are not to be overwritten."""


class FailedProbeError(Exception):
    """A process that measures has ended with an error."""


def carry_out(plan: Plan, only: Sequence[str], folder: Path, console: Console) -> int:
    """Measure these parts, write the results, and return the exit code.

    The folder's other parts stay; a part for which no backend is installed is left out.

    Raises:
        MixedPlansError: The folder holds the results of another plan.
    """
    _refuse_another_plan(plan, folder)
    parts = [
        Part(part, len(backends(part)), partial(measure, plan, part, folder))
        for part in filter(backends, only)
    ]
    try:
        said, missing = suite.in_turn(parts, console)
    except FailedProbeError as error:
        console.print(str(error), highlight=False, markup=False)
        return 1
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
            for said in _said_by(backend, part, plan):
                if "device" in said:
                    devices[backend] = said["device"]
                found += [Row(**row) for row in said.get("rows", [])]
                advance(said.get("share", 0), said["title"])
    settings = setting.read(folder) | {part: its_setting}
    all_rows = rows.with_part(rows.read(folder), found)
    in_order = all_rows.sort_values(
        "part", key=lambda it: it.map(PLACES), kind="stable"
    )
    rows.write(in_order, folder)
    setting.write({it: settings[it] for it in PARTS if it in settings}, folder)
    return pages.publish(folder)


def _refuse_another_plan(plan: Plan, folder: Path) -> None:
    for part, its_setting in setting.read(folder).items():
        if its_setting["plan"] != plan.name:
            raise MixedPlansError(
                f"{folder} holds the part {part!r} of a {its_setting['plan']} run, and "
                f"this is a {plan.name} run"
            )


def _said_by(backend: str, part: str, plan: Plan) -> Iterator[dict[str, Any]]:
    probe = [sys.executable, "-m", "benchmarks.steps.probe"]
    return _facts([*probe, backend, part, plan.name, str(plan.repeats.seconds)])


def _facts(command: Sequence[str]) -> Iterator[dict[str, Any]]:
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            yield from map(json.loads, process.stdout or ())
        except BaseException:
            process.terminate()
            raise
        if process.wait():
            log.seek(0)
            raise FailedProbeError(f"{' '.join(command)}\n{log.read()}")
