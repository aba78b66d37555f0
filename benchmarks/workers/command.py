"""The benchmark: a step of each case on two workers."""

import socket
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context

import pandas as pd

from benchmarks import rows
from benchmarks.rows import spread
from benchmarks.suite import Parts
from benchmarks.workers import probe
from benchmarks.workers.probe import PLANS, SUBJECTS, Case

WORKERS = 2
PART = f"{WORKERS} workers"


def parts(plan: str) -> Parts:
    rows, exponents = PLANS[plan]
    cases = [Case(who, rows, s) for s in exponents for who in SUBJECTS]
    return {PART: partial(measure, cases)}


def measure(cases: Sequence[Case]) -> pd.DataFrame:
    """Return the bytes of a step of each case."""
    ports = _free_ports(WORKERS)
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        each = [pool.submit(probe.measure, cases, ports, k) for k in range(WORKERS)]
        counted = [one.result() for one in each]
    names = {"part": PART, "unit": "bytes"}
    return rows.frame(
        spread(of_workers, case=case.name, subject=case.subject, **names)
        for case, of_workers in zip(cases, zip(*counted, strict=True), strict=True)
    )


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        local = [socket.create_server(("localhost", 0)) for _ in range(count)]
        return [stack.enter_context(each).getsockname()[1] for each in local]
