"""The benchmark's parts: a step of each case, on each number of workers. Linux only."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks import suite
from benchmarks.rows import Row
from benchmarks.suite import Advance, Part
from benchmarks.workers import counts, pages
from benchmarks.workers.plans import FULL, QUICK, Plan

__all__ = ["FULL", "QUICK", "carry_out"]

ROOT = Path(__file__).parents[2]
LIMIT = 600


class FailedWorkersError(Exception):
    """A worker ended with an error, or did not end; the message says which."""


def carry_out(plan: Plan, folder: Path, console: Console) -> int:
    """Run the plan, write its results, and return the exit code."""
    parts = [Part(f"{n} workers", 1, partial(of, plan, n)) for n in plan.workers]
    try:
        return suite.carry_out(parts, folder, pages.publish, console, plan=plan.name)
    except FailedWorkersError as error:
        console.print(str(error), highlight=False, markup=False)
        return 1


def of(plan: Plan, workers: int, advance: Advance) -> list[Row]:
    """Return the bytes of a step of each case.

    What all have sent is half of what all have sent and received.
    """
    said = [json.loads(text) for text in _run(plan, workers)]
    advance(1)
    sent = [round(sum(counted) / 2) for counted in zip(*said, strict=True)]
    cases = plan.cases(workers)
    return [
        counts.row(workers, case, bytes_a_step)
        for case, bytes_a_step in zip(cases, sent, strict=True)
    ]


def _run(plan: Plan, count: int) -> list[str]:
    """Return what each of the workers prints."""
    program = [sys.executable, "-m", "benchmarks.workers.probe", plan.name]
    quiet = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    ports = _free_ports(count)
    workers = [
        subprocess.Popen(
            [*program, str(k), *ports],
            cwd=ROOT,
            env=os.environ | quiet,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(count)
    ]
    try:
        said = [worker.communicate(timeout=LIMIT) for worker in workers]
    except subprocess.TimeoutExpired:
        raise FailedWorkersError(f"no end after {LIMIT} s") from None
    finally:
        for worker in workers:
            worker.kill()
    if any(worker.returncode for worker in workers):
        raise FailedWorkersError("\n\n".join(errors for _, errors in said))
    return [output for output, _ in said]


def _free_ports(count: int) -> list[str]:
    with ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in bound:
            each.bind(("localhost", 0))
        return [str(each.getsockname()[1]) for each in bound]
