"""A clip costs no table on the wire, and a step reads nothing on the host.

On TensorFlow, replicas sum all dense gradients at once, and each table's rows apart. On
JAX, where a model is split, a clip by norm sums the squares of all variables at once.
Counted in the graph that is traced there, and in the program that is compiled here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests import processes
from tests.workers.results import TOLERANCE, Results, distance

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("workers")]
# Lengths, then values and indices; and both once more where the lengths differ.
GATHERS_OF_A_TABLE = 5
ON_REPLICAS = ["exact", "clipnorm", "global clipnorm", "clipvalue", "everything"]
VARIABLES = 5
NORMS = ["clipnorm", "global_clipnorm"]
COLLECTIVE = re.compile(
    r"= (?P<shapes>.*?) (?P<kind>(all|collective|reduce|ragged)-[a-z-]+)\("
)
HOST = ("callback", "infeed", "outfeed", " send(", " recv(")


@pytest.fixture(scope="module")
def traced(tmp_path_factory) -> Path:
    """What two replicas' steps left when they were traced."""
    folder = tmp_path_factory.mktemp("traced")
    program = ("tests.workers.programs.tensorflow_collectives", str(folder))
    processes.run((*program, *ON_REPLICAS))
    return folder


@pytest.mark.parametrize("case", ON_REPLICAS)
def test_replicas_sum_all_dense_gradients_at_once(traced: Path, case: str):
    found = json.loads((traced / "counts.json").read_text())[case]
    collectives = {kind: n for kind, n in found.items() if "Collective" in kind}
    assert collectives == {
        "CollectiveReduceV2": 2,
        "CollectiveGatherV2": 2 * GATHERS_OF_A_TABLE,
    }
    assert not {kind for kind in found if "PyFunc" in kind}


def test_tracing_warns_of_nothing(traced: Path):
    """TensorFlow rewrites what a branch calls, and knows not all of Python."""
    assert json.loads((traced / "warnings.json").read_text()) == []


class Split:
    """A model that is split over four devices: its steps, compiled, and a fit."""

    def __init__(self, folder: Path):
        self.steps: dict[str, str] = json.loads((folder / "steps.json").read_text())
        self.results = Results(folder, 1)

    def collectives(self, name: str) -> Counter[tuple[str, int]]:
        """Each kind, with how many numbers it is about, in every step."""
        _, _, text = self.steps[name].partition("\nENTRY ")
        found = COLLECTIVE.finditer(text)
        return Counter((m["kind"], numbers(m["shapes"])) for m in found)


def numbers(shapes: str) -> int:
    """How many numbers there are in arrays of `f32[3,4]{1,0}` and the like."""
    total = 0
    for shape in re.findall(r"\w+\[([\d,]*)\]", shapes):
        size = 1
        for n in filter(None, shape.split(",")):
            size *= int(n)
        total += size
    return total


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Split:
    folder = tmp_path_factory.mktemp("split")
    processes.run(("tests.workers.programs.jax_collectives", str(folder)))
    return Split(folder)


@pytest.mark.parametrize("clip", NORMS)
def test_a_norm_of_a_split_model_is_one_sum_of_scalars(split: Split, clip: str):
    with_clip, without = split.collectives(clip), split.collectives("none")
    [(kind, size)] = (with_clip - without).elements()
    assert kind == "all-reduce"
    assert size <= VARIABLES
    assert without
    assert without - with_clip == Counter()


def test_a_clip_by_value_of_a_split_model_sends_nothing(split: Split):
    assert split.collectives("clipvalue") == split.collectives("none")


@pytest.mark.parametrize("clip", ["none", "clipvalue", *NORMS])
def test_a_step_of_a_split_model_reads_nothing_on_the_host(split: Split, clip: str):
    assert not [word for word in HOST if word in split.steps[clip]]


def test_a_split_model_takes_the_steps_of_one_device(split: Split):
    [alone] = split.results.of("fit", "alone")
    [on_four] = split.results.of("fit", "split")
    assert distance(on_four, alone) < TOLERANCE
