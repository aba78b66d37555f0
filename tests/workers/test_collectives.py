"""A clip sends no table to other processes, and a step reads nothing on the host.

On TensorFlow, replicas sum all dense gradients at once, and each table's rows alone,
each row once. On JAX, a clip by norm of a split model sums a scalar for each variable.
The operations are counted in the traced graph and in the compiled program.
"""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from tests import processes

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("workers")]
# Lengths, then values and indices; and both once more where the lengths differ.
GATHERS_OF_A_TABLE = 5
ON_REPLICAS = ["exact", "clipnorm", "global clipnorm", "clipvalue", "everything"]
VARIABLES = 5
COLLECTIVE = re.compile(
    r"= (?P<shapes>.*?) (?P<kind>(all|collective|reduce|ragged)-[a-z-]+)\("
)
HOST = ("callback", "infeed", "outfeed", " send(", " recv(")


@pytest.fixture(scope="module")
def traced(tmp_path_factory) -> dict[str, dict[str, int]]:
    """How often each operation is in the step of two replicas, by the case."""
    folder = tmp_path_factory.mktemp("traced")
    program = ("tests.workers.programs.tensorflow_collectives", str(folder))
    processes.run((*program, *ON_REPLICAS))
    return json.loads((folder / "counts.json").read_text())


@pytest.mark.parametrize("case", ON_REPLICAS)
def test_replicas_sum_all_dense_gradients_at_once(traced, case: str):
    found = traced[case]
    collectives = {kind: n for kind, n in found.items() if "Collective" in kind}
    assert collectives == {
        "CollectiveReduceV2": 2,
        "CollectiveGatherV2": 2 * GATHERS_OF_A_TABLE,
    }
    assert found["Unique"] >= 2, "each replica merges its repeated rows before the sum"
    assert not {kind for kind in found if "PyFunc" in kind}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> dict[str, str]:
    """The compiled step of a model that is split over four devices, by the clip."""
    folder = tmp_path_factory.mktemp("split")
    processes.run(("tests.workers.programs.jax_collectives", str(folder)))
    return json.loads((folder / "steps.json").read_text())


def collectives(step: str) -> Counter[tuple[str, int]]:
    """Each kind, with how many numbers it is about."""
    _, _, text = step.partition("\nENTRY ")
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


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
def test_a_norm_of_a_split_model_is_one_sum_of_scalars(compiled, clip: str):
    with_clip, without = collectives(compiled[clip]), collectives(compiled["none"])
    [(kind, size)] = (with_clip - without).elements()
    assert kind == "all-reduce" and size <= VARIABLES
    assert without and without - with_clip == Counter()


def test_a_clip_by_value_of_a_split_model_sends_nothing(compiled):
    assert collectives(compiled["clipvalue"]) == collectives(compiled["none"])


def test_a_step_of_a_split_model_reads_nothing_on_the_host(compiled):
    for step in compiled.values():
        assert not [word for word in HOST if word in step]
