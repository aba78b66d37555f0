"""The benchmark from start to end: run the workers, write, print."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import machine
from benchmarks.workers import report
from benchmarks.workers.counts import Count
from benchmarks.workers.plans import CONTENDERS, Plan

ROOT = Path(__file__).parents[2]
LIMIT = 600


class FailedWorkersError(Exception):
    """A worker ended with an error, which is the message."""


def carry_out(plan: Plan, output: Path, console: Console) -> None:
    """Run the plan and write its results.

    Raises:
        FailedWorkersError: A worker ended with an error, or did not end.
    """
    start = time.perf_counter()
    found = {}
    for count in plan.workers:
        with console.status(f"Training on {count} workers"):
            found[count] = measured(plan, count)
    streams = found[plan.workers[0]]["streams"]
    results = report.Results(
        versions=machine.versions(),
        machine=machine.machine(),
        plan=plan.name,
        seconds=round(time.perf_counter() - start, 1),
        workers=plan.workers[0],
        rows=plan.rows,
        width=plan.width,
        lookups=plan.lookups,
        streams=tuple(
            report.Stream(
                exponent, round(plan.distinct(exponent), 1), streams[str(exponent)]
            )
            for exponent in plan.exponents
        ),
        counts=tuple(
            Count(count, case.gradient, case.rows, case.touched, plan.width, sent)
            for count in plan.workers
            for case, sent in zip(plan.cases, found[count]["cases"])
        ),
    )
    report.write(results, output)
    print(report.table(results), flush=True)
    print(report.by_workers(results.counts), flush=True)
    console.print(f"Done: the results are in {output}", soft_wrap=True)


def measured(plan: Plan, count: int) -> dict[str, Any]:
    """Bytes of a step that `count` workers send: by case, and by stream if counted."""
    said = [json.loads(text) for text in _run(plan, count)]
    return {
        "cases": [_sent(each) for each in zip(*(found["cases"] for found in said))],
        "streams": {
            exponent: {
                name: _sent([found["streams"][exponent][name] for found in said])
                for name in CONTENDERS
            }
            for exponent in said[0]["streams"]
        },
    }


def _sent(counts: Sequence[float]) -> int:
    """What all have sent, which is half of what all have sent and received."""
    return round(sum(counts) / 2)


def _run(plan: Plan, count: int) -> list[str]:
    """What the workers print."""
    ports = _free_ports(count)
    program = [sys.executable, "-m", "benchmarks.workers.probe", plan.name]
    quiet = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
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
