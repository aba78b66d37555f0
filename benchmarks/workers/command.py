"""The benchmark from start to end: run the workers, write, print."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from benchmarks import machine
from benchmarks.workers import report
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
    with console.status("Training on workers"):
        found = measured(plan)
    results = report.Results(
        versions=machine.versions(),
        machine=machine.machine(),
        plan=plan.name,
        seconds=round(time.perf_counter() - start, 1),
        workers=plan.workers,
        rows=plan.rows,
        width=plan.width,
        lookups=plan.lookups,
        streams=tuple(
            report.Stream(
                exponent,
                round(plan.distinct(exponent), 1),
                {name: round(found[str(exponent)][name]) for name in CONTENDERS},
            )
            for exponent in plan.exponents
        ),
    )
    report.write(results, output)
    print(report.table(results), flush=True)
    console.print(f"Done: the results are in {output}", soft_wrap=True)


def measured(plan: Plan) -> dict[str, dict[str, float]]:
    """What the first worker has counted: bytes, by exponent and contender."""
    ports = _free_ports(plan.workers)
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.workers.probe",
                plan.name,
                str(k),
                *ports,
            ],
            cwd=ROOT,
            env=os.environ
            | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(plan.workers)
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
    return json.loads(said[0][0])


def _free_ports(count: int) -> list[str]:
    with ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in bound:
            each.bind(("localhost", 0))
        return [str(each.getsockname()[1]) for each in bound]
