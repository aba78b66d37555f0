"""What the steps must reach, and whether they do."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from benchmarks import rows
from benchmarks.rows import ratio_name
from benchmarks.steps import names, plans
from benchmarks.steps.names import BUILTIN, EXACT, LAZY, OURS, WITHOUT
from benchmarks.steps.optimizers import CLIP_AND_MONITOR, CLIPNORM, SIXTEEN, titled
from benchmarks.steps.plans import FULL, JAX, TENSORFLOW, TORCH
from benchmarks.steps.sizes import ONE, RESNET50, SMALL

REACHED, NOT_REACHED, NOT_MEASURED = "reached", "not reached", "not measured"
SPEEDUP, COST = ratio_name(BUILTIN, OURS), ratio_name(OURS, WITHOUT)
XLA = names.backend(TENSORFLOW, "jit_compile")
MOMENTUM_CLIPPED = titled("Momentum", CLIPNORM)
ADAM_CLIPPED = titled("Adam", CLIPNORM)
CLIPPED = ("SGD + clipnorm", MOMENTUM_CLIPPED, ADAM_CLIPPED)
FUSED_PEER = ratio_name("torch.optim fused", OURS)
# One copy of the gradient and the step's scalars.
SCALARS = 0.01


@dataclass(frozen=True)
class Figure:
    """A figure by the names of its row, and the limit that it must keep to."""

    label: str
    limit: float
    names: Mapping[str, str]


@dataclass(frozen=True)
class Requirement:
    """Figures that belong together.

    Args:
        title: What the row is about.
        figures: What must keep to a limit.
        at_least: Whether a limit is the smallest good figure or the largest.
        unit: What stands behind a limit.
        slack: How far beyond the limit a figure still counts as at it.
    """

    title: str
    figures: Sequence[Figure]
    at_least: bool = True
    unit: str = "×"
    slack: float = 0.0

    def measured(self, found: pd.DataFrame) -> list[float]:
        """Return the median of each figure; NaN for one that was not measured."""
        return [rows.median(found, **figure.names) for figure in self.figures]

    def verdict(self, found: pd.DataFrame) -> str:
        measured = self.measured(found)
        if any(map(math.isnan, measured)):
            return NOT_MEASURED
        kept = map(self._keeps, self.figures, measured)
        return REACHED if all(kept) else NOT_REACHED

    def _keeps(self, figure: Figure, value: float) -> bool:
        if self.at_least:
            return value >= figure.limit - self.slack
        return value <= figure.limit + self.slack


def _figure(
    label: str,
    limit: float,
    part: str,
    case: str,
    subject: str,
    size: str,
    backend: str = TENSORFLOW,
) -> Figure:
    found = {"part": part, "case": case, "subject": subject, "backend": backend}
    return Figure(label, limit, {**found, "size": size})


def _dense(
    title: str,
    limits: Mapping[str, float],
    backend: str = TENSORFLOW,
    size: str = ONE,
    subject: str = SPEEDUP,
    at_least: bool = True,
) -> Requirement:
    """Return the requirement on dense steps, each limit by its case."""
    figures = [
        _figure(case, limit, plans.DENSE, case, subject, size, backend)
        for case, limit in limits.items()
    ]
    return Requirement(f"{title}, {SIZES[size]}", figures, at_least)


def _torch(case: str, *limits: float) -> Requirement:
    """Return the requirement of one case on PyTorch, a limit for each size."""
    figures = [
        _figure(SIZES[size], limit, plans.DENSE, case, SPEEDUP, size, TORCH)
        for size, limit in zip(SIZES, limits, strict=True)
    ]
    return Requirement(f"PyTorch, {case}: {SPEEDUP}", figures)


def _compile(case: str, limit: float) -> Requirement:
    figure = _figure("", limit, plans.FIRST, f"{case}: {READY}", SPEEDUP, SMALL, JAX)
    return Requirement(f"JAX, {case}, {READY}, {SIZES[SMALL]}: {SPEEDUP}", [figure])


def _sparse(equation: str, subject: str, limit: float) -> Requirement:
    size = plans.table_title(10**6)
    ratio = ratio_name(BUILTIN, subject)
    figure = _figure("", limit, plans.SPARSE, equation, ratio, size)
    return Requirement(f"TensorFlow, {equation}, table of {size}: {ratio}", [figure])


def _far_apart() -> Requirement:
    large, small = map(plans.table_title, FULL.far_apart)
    figure = _figure("", 1.3, plans.SPARSE, APART, ratio_name(large, small), "both")
    return Requirement(f"TensorFlow, {APART}: {large} over {small}", [figure], False)


def _model(model: str, subject: str, limit: float) -> Requirement:
    ratio = ratio_name(BUILTIN, subject)
    figure = _figure("", limit, plans.MODELS, "Adam: step", ratio, model)
    return Requirement(f"TensorFlow, {model}, whole step, Adam: {ratio}", [figure])


def _memory(limit: float, cases: Sequence[str]) -> Requirement:
    size = f"1 of {FULL.memory_parameters:,}"
    figures = [_figure(it, limit, plans.MEMORY, it, OURS, size) for it in cases]
    title = f"TensorFlow, extra memory of a step, {', '.join(cases)}"
    return Requirement(title, figures, False, " copies of the gradient", SCALARS)


def _each(cases: Iterable[str], limit: float) -> dict[str, float]:
    return dict.fromkeys(cases, limit)


SIZES = {ONE: "20 M", SMALL: "200 of 64×64", RESNET50: "ResNet50"}
READY = "trace and compile"
APART = "Adam lazy, table against table"
PLAIN_CASES = ("SGD", "Momentum", "Adam")
BOTH = (*PLAIN_CASES, *CLIPPED)
WATCHED = [titled(each, CLIP_AND_MONITOR) for each in PLAIN_CASES]
NARROW = [titled(each, SIXTEEN) for each in PLAIN_CASES]
WITH_A_PEER = (*BOTH, "AMSGrad")

REQUIREMENTS = (
    _dense(
        f"TensorFlow: {SPEEDUP}",
        {"SGD": 2, "Momentum": 2, "Adam": 3}
        | dict(zip(CLIPPED, (2.2, 2.6, 2.4), strict=True)),
    ),
    _dense(
        "TensorFlow, clipnorm's own cost",
        {"SGD + clipnorm": 1.6, MOMENTUM_CLIPPED: 1.4},
        subject=COST,
        at_least=False,
    ),
    _dense(
        f"TensorFlow under `jit_compile`: {SPEEDUP}",
        _each(BOTH, 0.95) | {ADAM_CLIPPED: 1.2},
        XLA,
    ),
    _dense(
        f"TensorFlow: {SPEEDUP}",
        _each(BOTH, 1.2) | {MOMENTUM_CLIPPED: 2, ADAM_CLIPPED: 1.25},
        size=SMALL,
    ),
    _dense(
        f"TensorFlow under `jit_compile`: {SPEEDUP}", {"Adam": 0.95}, XLA, size=SMALL
    ),
    _torch("SGD", 0.95, 0.9, 0.95),
    _torch("SGD + clipnorm", 8, 5, 3.5),
    _torch("Momentum", 1.2, 1.1, 1.4),
    _torch(MOMENTUM_CLIPPED, 6, 4, 3),
    _torch("Adam", 10, 3, 10),
    _torch(ADAM_CLIPPED, 10, 3, 6),
    _torch("AMSGrad", 8, 3, 5),
    *(
        _dense(
            f"PyTorch: {FUSED_PEER}", _each(WITH_A_PEER, 0.87), TORCH, size, FUSED_PEER
        )
        for size in SIZES
    ),
    *(_dense(f"JAX: {SPEEDUP}", _each(BOTH, 0.95), JAX, size) for size in (ONE, SMALL)),
    _compile("Adam", 0.91),
    _compile(ADAM_CLIPPED, 0.4),
    _dense("PyTorch, 16 bits over 32", _each(NARROW, 3), TORCH, ONE, COST, False),
    *(
        _dense(
            f"{name}, a monitor beside a clip by norm, its own cost",
            _each(WATCHED, 1.05),
            backend,
            ONE,
            COST,
            False,
        )
        for name, backend in (
            ("TensorFlow", TENSORFLOW),
            ("JAX", JAX),
            ("PyTorch", TORCH),
        )
    ),
    _sparse("Adam", LAZY, 80),
    _far_apart(),
    _sparse("Adam", EXACT, 2.4),
    _sparse("Momentum", EXACT, 1.3),
    _model(plans.TWO_TOWERS, LAZY, 4),
    _model(plans.TWO_TOWERS, EXACT, 1.7),
    _model(plans.MOBILENET, OURS, 1.1),
    _memory(0, PLAIN_CASES),
    _memory(1, [ADAM_CLIPPED]),
)
