"""The benchmark's parts: a step of each case, on each number of workers. Linux only."""

import signal
import socket
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path

from rich.console import Console

from benchmarks import suite
from benchmarks.rows import Row
from benchmarks.suite import Advance, Part
from benchmarks.workers import pages, probe
from benchmarks.workers.plans import FULL, QUICK, Plan

__all__ = ["FULL", "QUICK", "carry_out"]

LIMIT = 600


def carry_out(plan: Plan, folder: Path, console: Console) -> int:
    """Run the plan, write its results, and return the exit code."""
    parts = [Part(f"{n} workers", 1, partial(of, plan, n)) for n in plan.workers]
    return suite.carry_out(parts, folder, pages.publish, console, plan=plan.name)


def of(plan: Plan, workers: int, advance: Advance) -> list[Row]:
    """Return the bytes of a step of each case.

    What all have sent is half of what all have sent and received.
    """
    cases, ports = plan.of(workers), _free_ports(workers)
    # Ctrl-C is this process's to answer.
    heedless = signal.signal, (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(workers, get_context("spawn"), *heedless) as pool:
        each = [pool.submit(probe.measure, cases, ports, k) for k in range(workers)]
        try:
            # The first that fails raises here; the others would wait for it.
            counted = [one.result() for one in as_completed(each, LIMIT)]
        finally:
            # TensorFlow catches milder signals.
            for process in active_children():
                process.kill()
    advance(1)
    sent = [round(sum(of_case) / 2) for of_case in zip(*counted, strict=True)]
    return [case.row(workers, of_all) for case, of_all in zip(cases, sent, strict=True)]


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        local = [socket.create_server(("localhost", 0)) for _ in range(count)]
        return [stack.enter_context(each).getsockname()[1] for each in local]
