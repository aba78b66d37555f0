"""The benchmark from start to end: measure, write, print."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import Progress

from benchmarks import machine, progress, rows, setting
from benchmarks.rows import Row
from benchmarks.steps import pages, peers, report
from benchmarks.steps.plans import PARTS, Plan

ROOT = Path(__file__).parents[2]
TITLE_WIDTH = 52
PLACES = {part: place for place, part in enumerate(PARTS)}
PROBE = (sys.executable, "-m", "benchmarks.steps.probe")


class MixedPlansError(Exception):
    """The folder holds results of another plan, which are not to be overwritten."""


class FailedProbeError(Exception):
    """A process that measures has ended with an error."""


@dataclass
class Found:
    """What the processes of a part have said so far."""

    rows: list[Row] = field(default_factory=list)
    devices: dict[str, str] = field(default_factory=dict)


def carry_out(plan: Plan, parts: Sequence[str], output: Path, console: Console) -> bool:
    """Measure the parts, write the results, and return whether all were measured.

    The parts in the folder that are not measured now stay; a part for which no backend
    is installed is left out. Each part is written when it is complete, and Ctrl-C keeps
    those.

    Raises:
        MixedPlansError: The folder holds the results of another plan.
        FailedProbeError: A process could not measure its part.
    """
    settings = _earlier(plan, output)
    parts = list(filter(backends, parts))
    found = rows.read(output)
    complete: list[str] = []
    try:
        for part, its_rows, its_setting in _measured(plan, parts, console):
            found = rows.with_part(found, its_rows)
            settings[part] = its_setting
            write(found, settings, output)
            complete.append(part)
    except KeyboardInterrupt:
        pass
    print(report.table(found, settings), flush=True)
    console.print(_last_line(complete, parts, output), soft_wrap=True)
    return len(complete) == len(parts)


def write(
    found: pd.DataFrame, settings: Mapping[str, setting.Setting], output: Path
) -> None:
    """Write the rows, where they are from, and their pages."""
    in_order = {part: settings[part] for part in PARTS if part in settings}
    found = found.sort_values("part", key=lambda it: it.map(PLACES), kind="stable")
    rows.write(found, output)
    setting.write(in_order, output)
    pages.publish(output)


def backends(part: str) -> list[str]:
    """Return the backends on which the part is measured here."""
    return [backend for backend in PARTS[part] if find_spec(backend)]


def probe(plan: Plan, backend: str, part: str) -> list[str]:
    """Return the command that measures a part on one backend."""
    seconds = f"--seconds={plan.repeats.seconds}"
    return [*PROBE, backend, part, plan.name, seconds]


def _earlier(plan: Plan, output: Path) -> dict[str, setting.Setting]:
    settings = setting.read(output)
    for part, its_setting in settings.items():
        if its_setting["plan"] != plan.name:
            raise MixedPlansError(
                f"{output} holds the part {part!r} of a {its_setting['plan']} run, and "
                f"this is a {plan.name} run"
            )
    return settings


def _measured(
    plan: Plan, parts: Sequence[str], console: Console
) -> Iterator[tuple[str, list[Row], setting.Setting]]:
    packages = machine.versions((*machine.PACKAGES, *peers.PACKAGES))
    repeats = asdict(plan.repeats)
    with progress.bar(console, TITLE_WIDTH) as bar:
        for part in parts:
            found = Found()
            with setting.of_a_run(
                plan.name, versions=packages, repeats=repeats, devices=found.devices
            ) as its_setting:
                for backend in backends(part):
                    _follow(probe(plan, backend, part), backend, found, bar)
            yield part, found.rows, its_setting


def _follow(command: Sequence[str], backend: str, found: Found, bar: Progress) -> None:
    """Take in what the process prints, while the bar shows it."""
    task = bar.add_task(f"{backend} …", total=None)
    for fact in _facts(command):
        match fact:
            case {"device": device, "pieces": pieces}:
                found.devices[backend] = device
                bar.update(task, total=pieces)
            case {"title": title}:
                bar.update(task, description=title)
            case {"rows": its_rows}:
                found.rows += [Row(**row) for row in its_rows]
                bar.advance(task)


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


def _last_line(complete: Sequence[str], parts: Iterable[str], output: Path) -> str:
    missing = [part for part in parts if part not in complete]
    if not missing:
        return f"Done: the results are in {output}"
    kept = ", ".join(complete) or "none"
    return f"Not measured: {', '.join(missing)}. Complete, and in {output}: {kept}"
