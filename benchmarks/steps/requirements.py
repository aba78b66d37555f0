"""What the steps must reach, and whether they do."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.steps import dense, memory, sparse
from benchmarks.steps.figures import (
    BUILTIN,
    EXACT,
    GRAPH,
    LAZY,
    OURS,
    XLA,
    Results,
    ratio_name,
)
from benchmarks.steps.plans import (
    FULL,
    MOBILENET,
    ONE,
    SMALL,
    TWENTY,
    TWO_TOWERS,
    Layout,
    table_title,
)

REACHED = "reached"
NOT_REACHED = "not reached"
NOT_MEASURED = "not measured"

# One copy of the gradient and the step's scalars.
SCALARS = 0.01
LARGE = (ONE,)


@dataclass(frozen=True)
class Figure:
    """Where a figure is found: the name of a ratio or of a contender's value."""

    part: str
    case: str
    optimizer: str
    name: str
    mode: str = GRAPH

    def of(self, results: Results) -> float:
        """Return the median; NaN if it was not measured."""
        try:
            measurement = results.find(self.part, self.case, self.optimizer, self.mode)
        except LookupError:
            return math.nan
        return {**measurement.values, **measurement.ratios}[self.name].median


@dataclass(frozen=True)
class Requirement:
    """A limit, and the figures that are held against it.

    Args:
        case: What the row is about.
        limit: What every figure must keep to.
        figures: The figures by label.
        at_least: Whether the limit is the smallest good figure or the largest.
        unit: What stands behind a figure.
        slack: How far beyond the limit a figure still counts as at it.
    """

    case: str
    limit: float
    figures: Mapping[str, Figure]
    at_least: bool
    unit: str = "×"
    slack: float = 0.0

    def measured(self, results: Results) -> dict[str, float]:
        """Return the figures by label; NaN for one that was not measured."""
        return {label: figure.of(results) for label, figure in self.figures.items()}

    def verdict(self, results: Results) -> str:
        figures = list(self.measured(results).values())
        if any(map(math.isnan, figures)):
            return NOT_MEASURED
        return REACHED if all(map(self._keeps, figures)) else NOT_REACHED

    def _keeps(self, figure: float) -> bool:
        if self.at_least:
            return figure >= self.limit - self.slack
        return figure <= self.limit + self.slack


def _dense(
    optimizers: Sequence[str],
    limit: float,
    layouts: Sequence[Layout] = LARGE,
    mode: str = GRAPH,
) -> Requirement:
    """Return the requirement of a speed-up by `limit` on every layout."""
    under = " under `jit_compile=True`" if mode == XLA else ""
    large = "" if SMALL in layouts else ", 20 M"
    small = "200 small variables: " if SMALL in layouts else ""
    return Requirement(
        case=f"{small}{', '.join(optimizers)}{large}{under}: speed-up",
        limit=limit,
        figures={
            _label(optimizer, layout, optimizers, layouts): Figure(
                "dense", layout.title, optimizer, dense.SPEEDUP, mode
            )
            for optimizer in optimizers
            for layout in layouts
        },
        at_least=True,
    )


def _label(
    optimizer: str,
    layout: Layout,
    optimizers: Sequence[str],
    layouts: Sequence[Layout],
) -> str:
    where = {ONE: "one variable", TWENTY: "in 20"}.get(layout, "")
    return ", ".join(
        ([optimizer] if len(optimizers) > 1 else [])
        + ([where] if len(layouts) > 1 else [])
    )


def _clip_cost(optimizer: str, limit: float) -> Requirement:
    return Requirement(
        case=f"clipnorm's own cost, {optimizer}, 20 M",
        limit=limit,
        figures={
            _label(optimizer, layout, [optimizer], LARGE): Figure(
                "dense", layout.title, f"{optimizer} + clipnorm", dense.COST
            )
            for layout in LARGE
        },
        at_least=False,
    )


def _sparse(optimizer: str, contender: str, limit: float) -> Requirement:
    rows = 10**6
    name = ratio_name(BUILTIN, contender)
    return Requirement(
        case=f"{optimizer} `{contender}`, {table_title(rows)}, 1,024 ids: speed-up",
        limit=limit,
        figures={"": Figure("sparse", table_title(rows), optimizer, name)},
        at_least=True,
    )


def _far_apart() -> Requirement:
    large, small = FULL.far_apart
    name = ratio_name(sparse.rows_title(large), sparse.rows_title(small))
    return Requirement(
        case=f"Adam `lazy`: time of {large:,} rows over time of {small:,}",
        limit=1.3,
        figures={"": Figure("sparse", sparse.APART, "Adam", name)},
        at_least=False,
    )


def _model(model: str, contender: str, limit: float) -> Requirement:
    name = ratio_name(BUILTIN, contender)
    of = "" if contender == OURS else f" `{contender}`"
    return Requirement(
        case=f"{model}, whole step, Adam{of}: speed-up",
        limit=limit,
        figures={"": Figure("models", model, "Adam", name)},
        at_least=True,
    )


def _memory(optimizers: Sequence[str], limit: float) -> Requirement:
    case = memory.case_title(FULL.memory_parameters)

    return Requirement(
        case=f"extra memory of a step, {', '.join(optimizers)}",
        limit=limit,
        figures={
            optimizer if len(optimizers) > 1 else "": Figure(
                "memory", case, optimizer, OURS
            )
            for optimizer in optimizers
        },
        at_least=False,
        unit=" copies of the gradient",
        slack=SCALARS,
    )


REQUIREMENTS = (
    _dense(["SGD"], 2.0),
    _dense(["SGD + clipnorm"], 2.2),
    _dense(["Momentum"], 2.0),
    _dense(["Momentum + clipnorm"], 2.6),
    _dense(["Adam"], 3.0),
    _dense(["Adam + clipnorm"], 2.4),
    _clip_cost("SGD", 1.6),
    _clip_cost("Momentum", 1.4),
    _dense(
        ["SGD", "SGD + clipnorm", "Momentum", "Momentum + clipnorm", "Adam"],
        0.95,
        mode=XLA,
    ),
    _dense(["Adam + clipnorm"], 1.2, mode=XLA),
    _dense(
        [
            *("SGD", "SGD + clipnorm", "Momentum", "Momentum + clipnorm"),
            *("Adam", "Adam + clipnorm"),
        ],
        1.2,
        layouts=[SMALL],
    ),
    _sparse("Adam", LAZY, 80),
    _far_apart(),
    _sparse("Adam", EXACT, 2.4),
    _sparse("Momentum", EXACT, 1.3),
    _model(TWO_TOWERS, LAZY, 4),
    _model(TWO_TOWERS, EXACT, 1.7),
    _model(MOBILENET, OURS, 1.1),
    _memory(["SGD", "Momentum", "Adam"], 0),
    _memory(["Adam + clipnorm"], 1),
)
