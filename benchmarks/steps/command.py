"""The benchmark from start to end: measure, write, print."""

import datetime
import gc
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import keras
import tensorflow as tf
from rich.console import Console
from rich.progress import Progress, TaskID

from benchmarks import machine, progress
from benchmarks.steps import (
    bandwidth,
    dense,
    elsewhere,
    memory,
    models,
    peers,
    plots,
    report,
    sparse,
)
from benchmarks.steps.cases import Case
from benchmarks.steps.figures import Measurement, Part, Results
from benchmarks.steps.plans import Plan

TITLE_WIDTH = 44
PARTS: Mapping[str, Callable[[Plan], list[Case]]] = {
    "dense": dense.cases,
    "sparse": sparse.cases,
    "models": models.cases,
    "memory": memory.cases,
    "peers": peers.cases,
    "jax": partial(elsewhere.cases, "jax"),
    "torch": partial(elsewhere.cases, "torch"),
}


class MixedPlansError(Exception):
    """The folder holds results of another plan, which are not to be overwritten."""


def carry_out(plan: Plan, parts: Sequence[str], output: Path, console: Console) -> bool:
    """Measure the parts, write the results, and return whether all were measured.

    The parts in the folder that are not measured now stay. Each part is written when
    it is complete, and Ctrl-C keeps those.

    Raises:
        MixedPlansError: The folder holds the results of another plan.
    """
    results = _earlier(plan, output)
    complete: list[str] = []
    try:
        for name, part in _measured(plan, parts, console):
            results = _merged(results, name, part)
            _write(results, output)
            complete.append(name)
    except KeyboardInterrupt:
        pass
    print(report.table(results), flush=True)
    console.print(_last_line(complete, parts, output), soft_wrap=True)
    return len(complete) == len(parts)


def _earlier(plan: Plan, output: Path) -> Results:
    results = report.read(output)
    for name, part in results.parts.items():
        if part.plan != plan.name:
            raise MixedPlansError(
                f"{output} holds the part {name!r} of a {part.plan} run, and this is a "
                f"{plan.name} run"
            )
    return results


def _merged(results: Results, name: str, part: Part) -> Results:
    parts = {**results.parts, name: part}
    return Results({name: parts[name] for name in PARTS if name in parts})


def _write(results: Results, output: Path) -> None:
    report.write(results, plots.names(results), output)
    plots.write(results, output)


def _measured(
    plan: Plan, names: Sequence[str], console: Console
) -> Iterator[tuple[str, Part]]:
    cases = {name: PARTS[name](plan) for name in names}
    with progress.bar(console, TITLE_WIDTH) as bar, _without_warnings():
        task = bar.add_task("", total=sum(map(len, cases.values())))
        for name in names:
            yield name, _part(plan, cases[name], bar, task)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence TensorFlow on what is meant: many functions, and large gradients."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Converting sparse IndexedSlices")
            yield
    finally:
        logger.setLevel(level)


def _part(plan: Plan, cases: Sequence[Case], bar: Progress, task: TaskID) -> Part:
    date = datetime.datetime.now(datetime.timezone.utc)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    start = time.perf_counter()
    rate = bandwidth.bytes_per_second(plan.bandwidth_elements, plan.bandwidth_tries)
    measurements: list[Measurement] = []
    for case in cases:
        bar.update(task, description=case.title)
        tf.random.set_seed(0)
        measurements += case.measure()
        keras.backend.clear_session()
        gc.collect()
        bar.advance(task)
    return Part(
        plan=plan.name,
        date=date.isoformat(timespec="seconds"),
        seconds=round(time.perf_counter() - start, 1),
        load=round(load, 2),
        bandwidth=rate,
        versions=machine.versions((*machine.PACKAGES, *peers.PACKAGES)),
        machine=machine.machine(),
        measurements=tuple(measurements),
    )


def _last_line(complete: Sequence[str], parts: Sequence[str], output: Path) -> str:
    if len(complete) == len(parts):
        return f"Done: the results are in {output}"
    kept = ", ".join(complete) or "none"
    return f"Interrupted. Parts that were complete and are in {output}: {kept}"
