"""The parts of a run of the benchmark."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchmarks.steps.cases import CLIPPED, SIX
from benchmarks.steps.sizes import CHAPTER, MANY, ODD, ONE, RESNET50, SMALL
from benchmarks.suite import FULL, QUICK
from benchmarks.timing import Repeats

BACKENDS = ("tensorflow", "jax", "torch")
# The backends on which a part is measured.
PARTS = {
    "models": BACKENDS,
    "update": BACKENDS,
    "embeddings": ("tensorflow",),
    "load": BACKENDS,
}
ADAMS = ("Adam", f"Adam{CLIPPED}")
ADAM, THREE, SEVEN = ("Adam",), ("SGD", *ADAMS), (*SIX, "AMSGrad")

# The models of whole training steps, with their descriptions for a reader.
MLP, TRANSFORMER = "MLP 784-512-512-10", "Transformer"
MOBILENET, TOWERS = "MobileNetV2", "Two towers"
MODELS = {
    CHAPTER: "the chapter's network, batch 32",
    MLP: "batch 128",
    TRANSFORMER: "two layers of width 128, 10,000 words, batch 8 × 64 words",
    MOBILENET: "32×32 images, batch 8",
    TOWERS: "two tables of 200,000 × 32 under dense layers, batch 1,024",
}


@dataclass(frozen=True)
class Plan:
    """The sizes that are measured, and how often."""

    models: Mapping[str, tuple[str, ...]]  # the cases of each model, on all cores
    on_one_core: Mapping[str, tuple[str, ...]]
    update: Mapping[str, tuple[str, ...]]  # the cases of each list of variables
    without_xla: tuple[str, ...]  # the lists that XLA and JAX do not update
    in_16_bits: str  # the list that is updated in bfloat16 as well
    table_rows: tuple[int, ...]  # the sizes of embedding tables
    two_tables: tuple[int, int]  # those whose lazy steps are compared
    tower_rows: int  # of each table of the two towers
    touched: int  # rows in a batch
    eager: tuple[str, ...]  # the lists that are also updated without compilation
    layers_loaded: int  # of a model that is loaded, each of 48 MB with its slots
    repeats: Repeats  # of a step

    @property
    def of_fit(self) -> Repeats:
        """How often an epoch of `fit` or an eager step is timed."""
        at_least = 2 * self.repeats.at_least
        return replace(self.repeats, at_least=at_least, warm_up=1, twice=False)


IN_FULL = Plan(
    models={
        **dict.fromkeys(MODELS, THREE),
        CHAPTER: SIX,
        MLP: SIX,
        MOBILENET: ADAM,
    },
    on_one_core=dict.fromkeys((CHAPTER, MLP, TRANSFORMER), ADAM),
    update={**dict.fromkeys((ONE, SMALL, ODD, RESNET50, CHAPTER), SEVEN), MANY: ADAMS},
    without_xla=(ODD, MANY),
    in_16_bits=ONE,
    table_rows=(10**4, 10**5, 10**6),
    two_tables=(10**5, 10**7),
    tower_rows=200_000,
    touched=1024,
    eager=(MANY,),
    layers_loaded=15,
    repeats=Repeats(at_least=5, at_most=101, seconds=0.4),
)
PLANS = {
    FULL: IN_FULL,
    QUICK: Plan(
        models={CHAPTER: ADAMS, TOWERS: ("Adam",)},
        on_one_core={},
        update={"1 of 200,000": ADAMS, CHAPTER: ("Adam",)},
        without_xla=(),
        in_16_bits="1 of 200,000",
        table_rows=(10**3, 10**4),
        two_tables=(10**3, 10**4),
        tower_rows=1_000,
        touched=64,
        eager=(CHAPTER,),
        layers_loaded=1,
        repeats=Repeats(at_least=3, at_most=3, seconds=0, warm_up=1),
    ),
}
