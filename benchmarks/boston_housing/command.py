"""The benchmark from start to end: run, write, print."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmarks import INTERRUPTED, machine, progress
from benchmarks.boston_housing import plots, report, same_path
from benchmarks.boston_housing.plans import Plan
from benchmarks.boston_housing.runs import ExperimentRuns, Laboratory
from benchmarks.boston_housing.same_path import PathDifference
from benchmarks.boston_housing.summary import (
    ExperimentSummary,
    summarize,
    targets,
)

NAME_WIDTH = 13


@dataclass
class Record:
    """The experiments that are complete, and whether that is all of them."""

    same_path: list[PathDifference] = field(default_factory=list)
    runs: list[ExperimentRuns] = field(default_factory=list)
    summaries: list[ExperimentSummary] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False


def carry_out(plan: Plan, output: Path, console: Console) -> int:
    """Run the plan, write its results, and return the exit code.

    Ctrl-C stops the experiments; those that were complete are written all the same.
    """
    record = _run(plan, console)
    if not record.runs:
        console.print("Interrupted before an experiment was complete: nothing written.")
        return INTERRUPTED
    results = _results(plan, record)
    report.write(results, plots.names(record.runs), output)
    plots.write(record.runs, output)
    print(report.printed(results), flush=True)
    console.print(_last_line(results, output), soft_wrap=True)
    if record.interrupted:
        return INTERRUPTED
    return int(any(pair.apart for pair in record.same_path))


def _run(plan: Plan, console: Console) -> Record:
    record = Record()
    start = time.perf_counter()
    try:
        with progress.bar(console, NAME_WIDTH) as bar:
            record.same_path = _same_path(plan, bar)
            verdict = report.verdict(record.same_path)
            console.print(f"The same path? {verdict}", soft_wrap=True)
            for runs in _runs(plan, bar):
                summary = summarize(runs, plan.split)
                record.runs.append(runs)
                record.summaries.append(summary)
                console.print(report.one_line(summary), soft_wrap=True)
    except KeyboardInterrupt:
        record.interrupted = True
    record.seconds = time.perf_counter() - start
    return record


def _same_path(plan: Plan, bar: Progress) -> list[PathDifference]:
    task = bar.add_task("same path", total=len(same_path.PAIRS))
    return list(bar.track(same_path.differences(plan.split), task_id=task))


def _runs(plan: Plan, bar: Progress) -> Iterator[ExperimentRuns]:
    task = bar.add_task("")
    laboratory = Laboratory(plan.split, partial(bar.advance, task))
    steps = len(plan.seeds) * sum(map(laboratory.steps, plan.experiments))
    for experiment in plan.experiments:
        bar.update(task, total=steps, description=experiment.name)
        yield laboratory.run(experiment, plan.seeds)


def _results(plan: Plan, record: Record) -> report.Results:
    missing = plan.experiments[len(record.summaries) :]
    return report.Results(
        versions=machine.versions(),
        machine=machine.machine(),
        data=plan.data,
        seeds=tuple(plan.seeds),
        shortening=plan.shortening,
        seconds=round(record.seconds, 1),
        targets=targets(plan.split),
        same_path=tuple(record.same_path),
        experiments=tuple(record.summaries),
        missing=tuple(experiment.title for experiment in missing),
    )


def _last_line(results: report.Results, output: Path) -> str:
    if results.missing:
        complete = len(results.experiments)
        return (
            f"Interrupted: {complete} of {complete + len(results.missing)} experiments "
            f"were complete and are in {output}"
        )
    return f"Done in {results.seconds:.0f} s: the results are in {output}"
