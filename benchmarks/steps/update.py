"""The update alone: lists of variables with dense gradients, and 16 bits."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import keras

from benchmarks import suite, timing
from benchmarks.steps import cases, sizes
from benchmarks.steps.cases import BUILTIN, OURS
from benchmarks.steps.pairs import Contender, Pair, check_same_step, compare, tensors
from benchmarks.steps.plans import Plan

NARROW = "bfloat16"


def measure(plan: Plan, backend: Any) -> Iterator[Pair]:
    for size, its_cases in plan.update.items():
        for mode in backend.MODES:
            label = ", ".join(filter(None, (keras.backend.backend(), mode)))
            if size in plan.without_xla and label in ("tensorflow, XLA", "jax"):
                continue
            suite.say(f"  {label}: update of {size}")
            make = partial(contender, backend, mode, size)
            names = {"backend": label, "size": size}
            for case in its_cases:
                yield from _of_case(plan, backend, make, {**names, "case": case})
            for case in cases.MAIN if size == plan.in_16_bits else ():
                yield from _in_16_bits(plan, make, {**names, "case": case})


def _of_case(
    plan: Plan, backend: Any, make: Any, names: dict[str, str]
) -> Iterator[Pair]:
    """Yield the first step, later ones, and those without compilation."""
    case, size = names["case"], names["size"]
    found = {OURS: make(cases.ours(case)), BUILTIN: make(cases.builtin(case))}
    its_arrays = map(tensors, sizes.arrays(size))
    if backend.PEER and (peer := backend.peer(case, *its_arrays)):
        found[backend.PEER] = peer
    first = check_same_step(found)
    yield compare(first, OURS, BUILTIN, what="first step", **names)
    samples = timed(found, plan.repeats)
    for other in [*found][1:]:
        yield compare(samples, OURS, other, what="update", **names)
    for other in [*found][2:]:
        yield compare(samples, other, BUILTIN, what="update", **names)
    if size in plan.eager and "XLA" not in names["backend"]:
        eager = {OURS: _eager(backend, size, cases.ours(case))}
        eager[BUILTIN] = _eager(backend, size, cases.builtin(case))
        samples = timing.interleaved(eager, plan.of_fit)
        yield compare(samples, OURS, BUILTIN, what="eager step", **names)


def _in_16_bits(plan: Plan, make: Any, names: dict[str, str]) -> Iterator[Pair]:
    """Compare with float32, and with the built-in, which rounds small steps away."""
    first, last = f"{OURS}, {NARROW}", f"{BUILTIN}, {NARROW}"
    found = {
        first: make(cases.ours(names["case"]), NARROW),
        OURS: make(cases.ours(names["case"])),
        last: make(cases.builtin(names["case"]), NARROW),
    }
    samples = timed(found, plan.repeats)
    for other in (OURS, last):
        yield compare(samples, first, other, what="update in 16 bits", **names)


def timed(found: Mapping[str, Contender], repeats: timing.Repeats) -> timing.Samples:
    """Return the times of all contenders, and give their memory back."""
    steps = {name: each.step for name, each in found.items()}
    samples = timing.interleaved(steps, repeats)
    for each in found.values():
        each.free()
    return samples


def contender(
    backend: Any, mode: str, size: str, optimizer: Any, dtype: str = "float32"
) -> Contender:
    """Return the step of an optimizer on new variables."""
    values, gradients = sizes.arrays(size)
    variables = [keras.Variable(value, dtype=dtype) for value in values]
    build = timing.milliseconds(lambda: optimizer.build(variables))
    g = tensors(gradients, dtype)
    return backend.contender(optimizer, variables, g, mode)._replace(build=build)


def _eager(backend: Any, size: str, optimizer: Any) -> timing.Step:
    values, gradients = sizes.arrays(size)
    variables, g = [keras.Variable(value) for value in values], tensors(gradients)

    def step() -> None:
        optimizer.apply(g, variables)
        backend.wait(variables)

    return step
