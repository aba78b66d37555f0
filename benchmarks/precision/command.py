"""The benchmark from start to end: train, write, print."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import keras
from rich.console import Console
from rich.progress import Progress, TaskID

from benchmarks import machine, progress
from benchmarks.precision import plots, report
from benchmarks.precision.plans import Plan
from benchmarks.precision.summary import TOLERANCE, TaskSummary, summarize
from benchmarks.precision.tasks import Task
from benchmarks.precision.train import Run, Trainer
from benchmarks.precision.variants import Variant

NAME_WIDTH = 44


@dataclass
class Record:
    """The tasks that are complete, and whether that is all of them."""

    tasks: list[TaskSummary] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False


def carry_out(plan: Plan, output: Path, console: Console) -> bool:
    """Run the plan, write its results, and return whether it ran to its end.

    Ctrl-C stops the training; the tasks that were complete are written all the same.
    """
    record = _run(plan, console)
    if not record.tasks:
        console.print("Interrupted before a task was complete: nothing written.")
        return False
    results = _results(plan, record)
    report.write(results, plots.NAMES, output)
    plots.write(record.tasks, output)
    print(report.printed(results), flush=True)
    console.print(_last_line(results, output), soft_wrap=True)
    return not record.interrupted


def _run(plan: Plan, console: Console) -> Record:
    record = Record()
    start = time.perf_counter()
    try:
        with progress.bar(console, NAME_WIDTH) as bar:
            for summary in _summaries(plan, bar):
                record.tasks.append(summary)
                for line in summary.variants:
                    console.print(report.one_line(summary, line), soft_wrap=True)
    except KeyboardInterrupt:
        record.interrupted = True
    record.seconds = time.perf_counter() - start
    return record


def _summaries(plan: Plan, bar: Progress) -> Iterator[TaskSummary]:
    epochs = sum(task.epochs for task in plan.tasks)
    total = epochs * len(plan.seeds) * len(plan.variants)
    bar_task = bar.add_task("", total=total)
    for task in plan.tasks:
        yield _summary(plan, task, bar, bar_task)


def _summary(plan: Plan, task: Task, bar: Progress, bar_task: TaskID) -> TaskSummary:
    start = time.perf_counter()
    data = task.data()
    runs: dict[Variant, list[Run]] = {}
    for variant in plan.variants:
        bar.update(bar_task, description=f"{task.name}: {variant.name}")
        trainer = Trainer(task, variant, data)
        on_epoch = partial(bar.advance, bar_task)
        runs[variant] = [trainer.train(seed, on_epoch) for seed in plan.seeds]
        keras.backend.clear_session()
    return TaskSummary(
        name=task.name,
        title=task.title,
        unit=task.unit,
        epochs=task.epochs,
        steps=task.epochs * (len(data[0]) // task.batch_size),
        parameters=task.model("float32").count_params(),
        seconds=round(time.perf_counter() - start, 1),
        variants=summarize(task, runs),
    )


def _results(plan: Plan, record: Record) -> report.Results:
    return report.Results(
        versions=machine.versions(),
        machine=machine.machine(),
        seeds=tuple(plan.seeds),
        shortening=plan.shortening,
        seconds=round(record.seconds, 1),
        tolerance=TOLERANCE,
        tasks=tuple(record.tasks),
        missing=tuple(task.title for task in plan.tasks[len(record.tasks) :]),
    )


def _last_line(results: report.Results, output: Path) -> str:
    if results.missing:
        complete = len(results.tasks)
        return (
            f"Interrupted: {complete} of {complete + len(results.missing)} tasks were "
            f"complete and are in {output}"
        )
    return f"Done in {results.seconds:.0f} s: the results are in {output}"
