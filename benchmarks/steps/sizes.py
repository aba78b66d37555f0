"""The lists of variables and the tables that a step updates, by their titles."""

from functools import lru_cache
from itertools import pairwise

import numpy as np

Shapes = list[tuple[int, ...]]
Arrays = list[np.ndarray]

ONE = "1 of 20,000,000"
SMALL = "200 of 64×64"
RESNET50 = "ResNet50"
TABLE_WIDTH = 32


def shapes(title: str) -> Shapes:
    """Return the shapes of the variables of the list with this title."""
    if title == RESNET50:
        return resnet50()
    count, _, shape = title.partition(" of ")
    return [tuple(map(_integer, shape.split("×")))] * _integer(count)


def elements(title: str) -> int:
    return sum(int(np.prod(shape)) for shape in shapes(title))


@lru_cache(maxsize=1)
def arrays(title: str) -> tuple[Arrays, Arrays]:
    """Return values and gradients of the variables, in float32."""
    draw = np.random.default_rng(0).standard_normal
    values = [draw(shape, np.float32) for shape in shapes(title)]
    gradients = [np.float32(0.1) * draw(shape, np.float32) for shape in shapes(title)]
    return values, gradients


def resnet50() -> Shapes:
    """Kernels, scales and offsets of ResNet50 (He et al. 2015), and its last layer."""
    found: Shapes = [(7, 7, 3, 64), (64,), (64,)]
    entered = 64
    for blocks, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
        for block in range(blocks):
            channels = (entered, width, width, 4 * width)
            for size, (before, after) in zip((1, 3, 1), pairwise(channels)):
                found += [(size, size, before, after), (after,), (after,)]
            if block == 0:
                last = 4 * width
                found += [(1, 1, entered, last), (last,), (last,)]
            entered = 4 * width
    return [*found, (2048, 1000), (1000,)]


def table_title(rows: int) -> str:
    return f"{rows:,} × {TABLE_WIDTH}"


def rows_of(title: str) -> int:
    """Return the rows in a title that `table_title` made."""
    return _integer(title.partition(" ")[0])


def _integer(text: str) -> int:
    return int(text.replace(",", ""))
