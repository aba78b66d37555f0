"""What a run of the benchmark consists of."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchmarks.steps import networks
from benchmarks.steps.optimizers import CLIPNORM, OPTIONS, PLAIN, SIXTEEN
from benchmarks.steps.sizes import ONE, RESNET50, SMALL
from benchmarks.timing import Repeats

TENSORFLOW, JAX, TORCH = BACKENDS = ("tensorflow", "jax", "torch")
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


@dataclass(frozen=True)
class Plan:
    """The sizes that are measured, and how often.

    Args:
        name: What the results call it.
        dense: The options of dense steps by the size of what they update.
        table_rows: The sizes of the tables that rows of gradients update.
        largest_together: The largest table of which all contenders are in memory.
        far_apart: The two tables whose lazy steps are compared.
        touched: The rows that a batch looks up.
        models: The models whose training steps are timed.
        tower_rows: The rows of the tables in a recommender.
        memory_parameters: Of the step whose memory is counted.
        first: The sizes of first steps, each with how often they are taken.
        file_parameters: Of the model that is saved and loaded.
        repeats: How often a step is timed.
        accelerator: Whether it is for a GPU; else that is hidden.
    """

    name: str
    dense: Mapping[str, tuple[str, ...]]
    table_rows: tuple[int, ...]
    largest_together: int
    far_apart: tuple[int, int]
    touched: int
    models: tuple[str, ...]
    tower_rows: int
    memory_parameters: int
    first: Mapping[str, int]
    file_parameters: int
    repeats: Repeats
    accelerator: bool = False

    def with_seconds(self, seconds: float | None) -> "Plan":
        """Return the plan with rounds that go on for so long."""
        if seconds is None:
            return self
        return replace(self, repeats=replace(self.repeats, seconds=seconds))


FULL = Plan(
    name="full",
    dense={
        ONE: tuple(OPTIONS),
        SMALL: (PLAIN, CLIPNORM),
        RESNET50: (PLAIN, CLIPNORM),
    },
    table_rows=(10**4, 10**5, 10**6, 10**7),
    largest_together=10**6,
    far_apart=(10**7, 10**5),
    touched=1024,
    models=tuple(networks.TEXTS),
    tower_rows=200_000,
    memory_parameters=2**25,
    first={"100 of 8×8": 3, SMALL: 3, "1,000 of 8×8": 1},
    file_parameters=700_000_000 // 12,
    repeats=Repeats(warm_up=2, at_least=7, at_most=101, seconds=1),
)
QUICK = Plan(
    name="quick",
    dense={"1 of 200,000": (PLAIN,), "2 of 100×100": (PLAIN, CLIPNORM, SIXTEEN)},
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
ON_ACCELERATOR = replace(
    FULL,
    name="full on an accelerator",
    dense={**FULL.dense, ONE: (PLAIN, CLIPNORM, SIXTEEN)},
    repeats=replace(FULL.repeats, seconds=0.5),
    accelerator=True,
)
QUICK_ON_ACCELERATOR = replace(QUICK, name="quick on an accelerator", accelerator=True)
PLANS = {it.name: it for it in (FULL, QUICK, ON_ACCELERATOR, QUICK_ON_ACCELERATOR)}


def plan(quick: bool, accelerator: bool) -> Plan:
    """Return the plan of these properties."""
    return PLANS[("quick" if quick else "full") + " on an accelerator" * accelerator]
