"""The same steps on JAX and PyTorch, each in a process of its own."""

import json
import os
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from itertools import pairwise

from benchmarks.steps.cases import Case
from benchmarks.steps.figures import Measurement, measurement_from_json
from benchmarks.steps.memory import ROOT
from benchmarks.steps.plans import Plan

Shapes = list[tuple[int, ...]]


def cases(backend: str, plan: Plan) -> list[Case]:
    """One for each list of variables; none where the backend is not installed."""
    if find_spec(backend) is None:
        return []
    return [
        Case(f"{backend}, {title}", partial(_measure, backend, plan.name, title))
        for title in plan.lists
    ]


def shapes(title: str) -> Shapes:
    """The variables of the list with this title, as `plans` has them."""
    if title == "ResNet50":
        return resnet50()
    count, _, shape = title.partition(" of ")
    return [tuple(int(n.replace(",", "")) for n in shape.split("×"))] * int(count)


def resnet50() -> Shapes:
    """Kernels, scales and offsets of ResNet50 (He et al. 2015), and its last layer."""
    shapes: Shapes = [(7, 7, 3, 64), (64,), (64,)]
    entered = 64
    for blocks, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
        for block in range(blocks):
            channels = (entered, width, width, 4 * width)
            for size, (before, after) in zip((1, 3, 1), pairwise(channels)):
                shapes += [(size, size, before, after), (after,), (after,)]
            if block == 0:
                last = 4 * width
                shapes += [(1, 1, entered, last), (last,), (last,)]
            entered = 4 * width
    return [*shapes, (2048, 1000), (1000,)]


def _measure(backend: str, plan: str, title: str) -> list[Measurement]:
    program = [sys.executable, "-m", "benchmarks.steps.elsewhere_probe"]
    probe = subprocess.run(
        [*program, backend, plan, title],
        cwd=ROOT,
        env=_environment() | {"KERAS_BACKEND": backend},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(probe.stdout.splitlines()[-1])
    return list(map(measurement_from_json, found))


def _environment() -> dict[str, str]:
    """This process's, but PyTorch's threads wait as they do for its users."""
    return {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
