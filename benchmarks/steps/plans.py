"""What a run of the benchmark consists of."""

from dataclasses import dataclass

from benchmarks.steps.optimizers import OPTIONS, PLAIN
from benchmarks.steps.timing import Repeats

TABLE_WIDTH = 32


@dataclass(frozen=True)
class Layout:
    """Equal variables: so many, of so many parameters each."""

    variables: int
    parameters: int

    @property
    def title(self) -> str:
        if self.variables == 1:
            return f"{self.parameters:,} in one variable"
        return f"{self.variables} variables of {self.parameters:,}"


@dataclass(frozen=True)
class Plan:
    """The sizes that are measured, and how often.

    `largest_together` is the largest table of which all contenders are kept in memory
    at a time; `lists` are the titles of lists of variables for JAX and PyTorch.
    """

    name: str
    layouts: tuple[Layout, ...]
    lists: tuple[str, ...]
    options: tuple[str, ...]
    table_rows: tuple[int, ...]
    largest_together: int
    far_apart: tuple[int, int]
    touched: int
    models: tuple[str, ...]
    tower_rows: int
    memory_parameters: int
    peer_parameters: int
    peer_rows: int
    bandwidth_elements: int
    bandwidth_tries: int
    repeats: Repeats


ONE = Layout(1, 20_000_000)
TWENTY = Layout(20, 1_000_000)
SMALL = Layout(200, 1_000)

BOSTON = "Boston MLP"
TWO_TOWERS = "two towers"
MOBILENET = "MobileNetV2"
TRANSFORMER = "Transformer encoder"

FULL = Plan(
    name="full",
    layouts=(ONE, TWENTY, SMALL),
    lists=("1 of 20,000,000", "200 of 64×64", "ResNet50"),
    options=(PLAIN, *OPTIONS),
    table_rows=(10**4, 10**5, 10**6, 10**7),
    largest_together=10**6,
    far_apart=(10**7, 10**5),
    touched=1024,
    models=(BOSTON, TWO_TOWERS, MOBILENET, TRANSFORMER),
    tower_rows=200_000,
    memory_parameters=2**25,
    peer_parameters=20_000_000,
    peer_rows=10**6,
    bandwidth_elements=100_000_000,
    bandwidth_tries=20,
    repeats=Repeats(warm_up=3, at_least=11, at_most=101, seconds=3),
)
QUICK = Plan(
    name="quick",
    layouts=(Layout(1, 200_000),),
    lists=("2 of 100×100",),
    options=(PLAIN, "clipnorm"),
    table_rows=(10**3, 10**4),
    largest_together=10**3,
    far_apart=(10**4, 10**3),
    touched=64,
    models=(BOSTON, TWO_TOWERS),
    tower_rows=1_000,
    memory_parameters=2**20,
    peer_parameters=100_000,
    peer_rows=10**4,
    bandwidth_elements=1_000_000,
    bandwidth_tries=5,
    repeats=Repeats(warm_up=1, at_least=3, at_most=3, seconds=0),
)


def table_title(rows: int) -> str:
    return f"{rows:,} × {TABLE_WIDTH}"


def rows_of(title: str) -> int:
    """Return the rows in a title that `table_title` made."""
    return int(title.partition(" ")[0].replace(",", ""))
