"""The peak of the memory that one step takes beyond what lives between steps."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.steps.cases import Case
from benchmarks.steps.figures import GRAPH, Measurement, Spread
from benchmarks.steps.floor import FLOAT_BYTES
from benchmarks.steps.optimizers import ADAM, PAIRS, arguments, title
from benchmarks.steps.plans import Plan

ROOT = Path(__file__).parents[2]
OPTIONS = ("", "clipnorm", "weight_decay")
AMSGRAD = "Adam + amsgrad"


@dataclass(frozen=True)
class Makers:
    """One optimizer twice, ready to be made."""

    ours: Callable[[], Any]
    builtin: Callable[[], Any]


def cases(plan: Plan) -> list[Case]:
    return [Case("extra memory of a step", partial(_measure, plan.memory_parameters))]


def case_title(parameters: int) -> str:
    return f"{parameters:,} in one variable"


def optimizers() -> Mapping[str, Makers]:
    """Return the optimizers whose steps are measured, by title."""
    plain = {
        title(pair, option): Makers(
            partial(pair.ours, **arguments(option)),
            partial(pair.builtin, **arguments(option)),
        )
        for pair in PAIRS
        for option in OPTIONS
    }
    amsgrad = Makers(
        partial(ADAM.ours, amsgrad=True), partial(ADAM.builtin, amsgrad=True)
    )
    return {**plain, AMSGRAD: amsgrad}


def _measure(parameters: int) -> list[Measurement]:
    probe = subprocess.run(
        [sys.executable, "-m", "benchmarks.steps.memory_probe", str(parameters)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    found = json.loads(probe.stdout.splitlines()[-1])
    return [
        Measurement(
            case=case_title(parameters),
            optimizer=name,
            mode=GRAPH,
            values={
                contender: _copies(extra, parameters)
                for contender, extra in by_contender.items()
            },
            ratios={},
            bytes={},
        )
        for name, by_contender in found.items()
    ]


def _copies(extra_bytes: int, parameters: int) -> Spread:
    copies = extra_bytes / (FLOAT_BYTES * parameters)
    return Spread(copies, copies, copies)
