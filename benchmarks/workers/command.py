"""The benchmark's parts: a step of each case, on each number of workers. Linux only."""

import signal
import socket
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
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
    cases = plan.of(workers)
    measure = partial(probe.measure, cases, _free_ports(workers))
    heedless = signal.SIGINT, signal.SIG_IGN  # Ctrl-C is this process's to answer.
    with get_context("spawn").Pool(workers, signal.signal, heedless) as pool:
        # The first that fails raises here; the others would wait for it.
        in_turn = pool.imap_unordered(measure, range(workers))
        counted = zip(*[in_turn.next(LIMIT) for _ in range(workers)], strict=True)
    advance(1)
    sent = [round(sum(of_case) / 2) for of_case in counted]
    return [case.row(workers, of_all) for case, of_all in zip(cases, sent, strict=True)]


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        local = [socket.create_server(("localhost", 0)) for _ in range(count)]
        return [stack.enter_context(each).getsockname()[1] for each in local]
