"""Programs in fresh processes, side by side, and what they said where one fails."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parent.parent
TIMEOUT = 900
# Bit-identical results are a promise of one device, so a GPU stays out of sight.
SETTINGS = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def run(*programs: tuple[str, ...]) -> None:
    """Run each `(module, *arguments)` in a process of its own, all at the same time.

    Raises:
        AssertionError: A program ended with an error, which stops the others. The
            message is what all of them have said.
    """
    with tempfile.TemporaryDirectory() as logs:
        run_peers(*programs, logs=Path(logs), limit=TIMEOUT)


def run_peers(*programs: tuple[str, ...], logs: Path, limit: float = 300) -> None:
    """Run programs that talk to each other; what they say goes to files in `logs`.

    Raises:
        AssertionError: A program ended with an error, or not within `limit` seconds.
            The message is what all of them have said.
    """
    statuses = peers_statuses(*programs, logs=logs, limit=limit)
    if any(statuses):
        said = [
            f"{' '.join(program)} ended with {status}:\n{_log(logs, k).read_text()}"
            for k, (program, status) in enumerate(zip(programs, statuses))
        ]
        raise AssertionError("\n\n".join(said))


def peers_statuses(
    *programs: tuple[str, ...], logs: Path, limit: float = 300
) -> list[int | str]:
    """Run programs that talk to each other until all have ended, or one has failed.

    The others would wait for one that failed, and are stopped. Returns the exit status
    of each, `-k` where signal `k` ended it, and `"stopped"` for those others.
    """
    logs.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + limit
    with ExitStack() as open_files:
        peers = [
            subprocess.Popen(
                [sys.executable, "-m", *program],
                cwd=ROOT,
                env=os.environ | SETTINGS,
                stdin=subprocess.DEVNULL,
                stdout=open_files.enter_context(_log(logs, k).open("w")),
                stderr=subprocess.STDOUT,
            )
            for k, program in enumerate(programs)
        ]
        statuses: list[int | None] = [None]
        try:
            while None in statuses and not any(statuses) and time.monotonic() < end:
                time.sleep(0.05)
                statuses = [peer.poll() for peer in peers]
        finally:
            for peer in peers:
                peer.kill()
                peer.wait()
    return ["stopped" if status is None else status for status in statuses]


def _log(logs: Path, k: int) -> Path:
    return logs / f"{k}.log"


def free_ports(count: int) -> list[str]:
    """Ports of this machine that nobody listens on."""
    with ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in bound:
            each.bind(("localhost", 0))
        return [str(each.getsockname()[1]) for each in bound]
