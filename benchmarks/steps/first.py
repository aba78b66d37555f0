"""What a user waits for before the first step, and a step that is not compiled."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras

from benchmarks import timing
from benchmarks.rows import Row
from benchmarks.steps import sizes
from benchmarks.steps.names import BUILTIN, OURS
from benchmarks.steps.optimizers import ADAM, CLIPNORM, PLAIN, Case, case
from benchmarks.steps.plans import FIRST, Plan
from benchmarks.steps.work import Work, timed

READY, FIRST_STEP, EAGER = "trace and compile", "first step", "eager step"
ONE_SMALL = "1 of 8×8"
COMPILING = ("trace", "compile")


def work(plan: Plan, backend: Any) -> Iterator[Work]:
    for size, tries in plan.first.items():
        for option in (PLAIN, CLIPNORM):
            of_adam = case(ADAM, option)
            measure = partial(_measure, backend, size, of_adam, tries)
            yield Work(f"{size}, {of_adam.name}, first steps", measure)


def _measure(backend: Any, size: str, case: Case, tries: int) -> Iterator[Row]:
    makers: dict[str, Callable[[], Any]] = {OURS: case.ours, BUILTIN: case.builtin}
    for make in makers.values():  # what is imported and set up once
        _stages(backend, ONE_SMALL, make())
    by_stage: dict[str, dict[str, list[float]]] = {}
    for _ in range(tries):
        for subject, make in makers.items():
            for stage, its_time in _stages(backend, size, make()).items():
                samples = by_stage.setdefault(stage, {OURS: [], BUILTIN: []})
                samples[subject].append(its_time)
            keras.backend.clear_session()
    for stage, samples in by_stage.items():
        yield from timed(
            samples,
            [(BUILTIN, OURS)],
            part=FIRST,
            case=f"{case.name}: {stage}",
            backend=keras.backend.backend(),
            size=size,
        )


def _stages(backend: Any, size: str, optimizer: Any) -> dict[str, float]:
    """Return the milliseconds of all that happens, by its name."""
    values, gradients = sizes.arrays(size)
    variables = [keras.Variable(value) for value in values]
    found = {"build": timing.milliseconds(lambda: optimizer.build(variables))}
    steps = backend.first_steps(optimizer, variables, gradients)
    found |= {name: timing.milliseconds(step) for name, step in steps.items()}
    found[FIRST_STEP] = sum(found.values())
    compiling = [found[name] for name in COMPILING if name in found]
    if len(compiling) > 1:
        found[READY] = sum(compiling)

    g = backend.tensors(gradients, "float32")

    def eager() -> None:
        optimizer.apply(g, variables)
        backend.wait(variables)

    eager()
    return {**found, EAGER: timing.milliseconds(eager)}
