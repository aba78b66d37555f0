"""Dense gradients: one large variable, the same in pieces, and many small ones."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks.steps import floor, timing
from benchmarks.steps.cases import Case
from benchmarks.steps.figures import BUILTIN, GRAPH, OURS, XLA, Measurement, ratio_name
from benchmarks.steps.optimizers import (
    NORMS,
    PAIRS,
    PLAIN,
    WATCHED,
    Pair,
    arguments,
    arguments_of_builtin,
    title,
    without,
)
from benchmarks.steps.plans import Layout, Plan
from benchmarks.steps.timing import Samples, Step
from benchmarks.steps.updates import dense_step, gradients, watched_step

WITHOUT = "ours without it"
COST = ratio_name(OURS, WITHOUT)
SPEEDUP = ratio_name(BUILTIN, OURS)

Contender = tuple[str, str]


def cases(plan: Plan) -> list[Case]:
    return [
        Case(
            f"{layout.title}, {pair.name}, {mode}",
            partial(_measure, plan, layout, pair, mode),
        )
        for layout in plan.layouts
        for pair in PAIRS
        for mode in (GRAPH, XLA)
    ]


def _measure(plan: Plan, layout: Layout, pair: Pair, mode: str) -> list[Measurement]:
    steps = _steps(plan.options, layout, pair, mode)
    samples = timing.interleaved(
        {f"{who}, {option}": step for (who, option), step in steps.items()},
        plan.repeats,
    )
    return [_measurement(samples, layout, pair, mode, each) for each in plan.options]


def _steps(
    options: Sequence[str], layout: Layout, pair: Pair, mode: str
) -> dict[Contender, Step]:
    shared = gradients([(layout.parameters,)] * layout.variables)
    how: dict[str, Any] = {"gradients": shared, "jit_compile": mode == XLA}
    return {
        contender: make(optimizer, **how)
        for option in options
        for contender, make, optimizer in (
            (
                (OURS, option),
                watched_step if option in WATCHED else dense_step,
                pair.ours(**arguments(option)),
            ),
            (
                (BUILTIN, option),
                dense_step,
                pair.builtin(**arguments_of_builtin(option)),
            ),
        )
    }


def _measurement(
    samples: Samples, layout: Layout, pair: Pair, mode: str, option: str
) -> Measurement:
    ours, builtin = (samples[f"{who}, {option}"] for who in (OURS, BUILTIN))
    ratios = {SPEEDUP: timing.ratio(builtin, ours)}
    if option != PLAIN:
        ratios[COST] = timing.ratio(ours, samples[f"{OURS}, {without(option)}"])
    moved = floor.dense(
        layout.variables * layout.parameters,
        pair.slots,
        reads_of_gradient=2 if option in NORMS else 1,
    )
    return Measurement(
        case=layout.title,
        optimizer=title(pair, option),
        mode=mode,
        values={OURS: timing.spread(ours), BUILTIN: timing.spread(builtin)},
        ratios=ratios,
        bytes={OURS: moved, BUILTIN: moved},
    )
