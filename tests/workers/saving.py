"""Runs that save, each of which goes on, in fresh processes, from the last save."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests import processes

NEVER = -1


class Kill(NamedTuple):
    """Which worker is killed after which step, and the save that all go on from."""

    worker: int
    after: int
    saved: int


def run(folder: Path, saves: Path, count: int, steps: int) -> None:
    """Train until so many steps are taken; the variables go to `folder`.

    A `count` of 1 is one device and no worker.
    """
    programs = _programs(folder, saves, count, steps, None)
    processes.run_peers(*programs, logs=folder / "logs")


def killed_run(
    folder: Path, saves: Path, count: int, steps: int, kill: Kill
) -> int | str:
    """The same, but that a worker is killed; the exit status of that worker."""
    programs = _programs(folder, saves, count, steps, kill)
    return processes.peers_statuses(*programs, logs=folder / "logs")[kill.worker]


def _programs(
    folder: Path, saves: Path, count: int, steps: int, kill: Kill | None
) -> list[tuple[str, ...]]:
    ports = processes.free_ports(count) if count > 1 else []
    folder.mkdir()
    program = ("tests.workers.programs.tensorflow_saves", str(folder), str(saves))
    kills = [kill.after if kill and kill.worker == k else NEVER for k in range(count)]
    return [
        (*program, str(steps), str(after), str(k), *ports)
        for k, after in enumerate(kills)
    ]
