"""What a run of the benchmark consists of."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from benchmarks.steps import networks
from benchmarks.steps.optimizers import OPTIONS, PLAIN
from benchmarks.steps.sizes import ONE, RESNET50, SMALL
from benchmarks.timing import Repeats

TENSORFLOW = "tensorflow"
BACKENDS = (TENSORFLOW, "jax", "torch")
# The backends on which a part is measured.
PARTS: Mapping[str, tuple[str, ...]] = {
    "dense": BACKENDS,
    "sparse": (TENSORFLOW,),
    "models": (TENSORFLOW,),
    "memory": (TENSORFLOW,),
    "first": BACKENDS,
    "files": BACKENDS,
}
DENSE, SPARSE, MODELS, MEMORY, FIRST, FILES = PARTS

BOTH = (PLAIN, "clipnorm")
DENSE_IN_FULL = {ONE: tuple(OPTIONS), SMALL: BOTH, RESNET50: BOTH}
FIRST_IN_FULL = {"100 of 8×8": 3, SMALL: 3, "1,000 of 8×8": 1}
REPEATS_IN_FULL = Repeats(warm_up=2, at_least=7, at_most=101, seconds=1)


@dataclass(frozen=True)
class Plan:
    """The sizes that are measured, and how often; by default in full."""

    name: str = "full"
    # The options of dense steps by the size of what they update.
    dense: Mapping[str, tuple[str, ...]] = field(default_factory=DENSE_IN_FULL.copy)
    # The sizes of the tables that rows of gradients update, the largest of which all
    # contenders are in memory, and the two whose lazy steps are compared.
    table_rows: tuple[int, ...] = (10**4, 10**5, 10**6, 10**7)
    largest_together: int = 10**6
    far_apart: tuple[int, int] = (10**7, 10**5)
    # The rows that a batch looks up.
    touched: int = 1024
    # The models whose training steps are timed, and the rows of a recommender's tables.
    models: tuple[str, ...] = tuple(networks.TEXTS)
    tower_rows: int = 200_000
    # Of the step whose memory is counted.
    memory_parameters: int = 2**25
    # The sizes of first steps, each with how often they are taken.
    first: Mapping[str, int] = field(default_factory=FIRST_IN_FULL.copy)
    # Of the model that is saved and loaded.
    file_parameters: int = 700_000_000 // 12
    # How often a step is timed.
    repeats: Repeats = REPEATS_IN_FULL
    # Whether it is for a GPU; else that is hidden.
    accelerator: bool = False


FULL = Plan()
QUICK = Plan(
    name="quick",
    dense={"1 of 200,000": (PLAIN,), "2 of 100×100": (*BOTH, "bfloat16")},
    table_rows=(10**3, 10**4),
    largest_together=10**3,
    far_apart=(10**4, 10**3),
    touched=64,
    models=(networks.BOSTON, networks.TWO_TOWERS),
    tower_rows=1_000,
    memory_parameters=2**20,
    first={"3 of 8×8": 1},
    file_parameters=100_000,
    repeats=Repeats(warm_up=1, at_least=3, at_most=3, seconds=0),
)
# A device is lent for minutes, and compiling for it takes long.
ON_ACCELERATOR = Plan(
    name="full on an accelerator",
    dense={**DENSE_IN_FULL, ONE: (*BOTH, "bfloat16")},
    repeats=replace(REPEATS_IN_FULL, seconds=0.5),
    accelerator=True,
)
QUICK_ON_ACCELERATOR = replace(QUICK, name="quick on an accelerator", accelerator=True)


def plan(quick: bool, accelerator: bool) -> Plan:
    """Return the plan of these properties."""
    if accelerator:
        return QUICK_ON_ACCELERATOR if quick else ON_ACCELERATOR
    return QUICK if quick else FULL
