"""What a user waits for before the first step, and a step that is not compiled."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import keras

from benchmarks import timing
from benchmarks.rows import Row
from benchmarks.steps import sizes
from benchmarks.steps.contender import Work, timed
from benchmarks.steps.optimizers import ADAM, PLAIN, Case
from benchmarks.steps.plans import FIRST, Plan


def work(plan: Plan, backend: Any) -> Iterator[Work]:
    for size, tries in plan.first.items():
        for option in (PLAIN, "clipnorm"):
            of_adam = Case(ADAM, option)
            measured = _measure(backend, size, of_adam, tries)
            yield f"{size}, {of_adam.name}, first steps", measured


def _measure(backend: Any, size: str, case: Case, tries: int) -> Iterator[Row]:
    makers = case.makers()
    for make in makers.values():  # what is imported and set up once
        _stages(backend, "1 of 8×8", make())
    by_stage: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(tries):
        for subject, make in makers.items():
            for stage, its_time in _stages(backend, size, make()).items():
                by_stage[stage][subject].append(its_time)
            keras.backend.clear_session()
    for stage, samples in by_stage.items():
        names = {"part": FIRST, "case": f"{case.name}: {stage}", "size": size}
        yield from timed(samples, backend=keras.backend.backend(), **names)


def _stages(backend: Any, size: str, optimizer: Any) -> dict[str, float]:
    """Return the milliseconds of all that happens, by its name."""
    values, gradients = sizes.arrays(size)
    variables = [keras.Variable(value) for value in values]
    found = {"build": timing.milliseconds(lambda: optimizer.build(variables))}
    g = backend.tensors(gradients, "float32")
    steps = backend.first_steps(optimizer, variables, g)
    found |= {name: timing.milliseconds(step) for name, step in steps.items()}
    found["first step"] = sum(found.values())
    if "compile" in found:
        found["trace and compile"] = found["trace"] + found["compile"]

    def eager() -> None:
        optimizer.apply(g, variables)
        backend.wait(variables)

    eager()
    return {**found, "eager step": timing.milliseconds(eager)}
