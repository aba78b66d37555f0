"""The lists of variables that an update changes, and the tables, by their titles."""

from functools import lru_cache

import numpy as np

Shapes = list[tuple[int, ...]]
Arrays = list[np.ndarray]

ONE = "1 of 20,000,000"
SMALL = "200 of 64×64"
MANY = "1,000 of 8×8"
ODD = "120 odd shapes"
RESNET50 = "ResNet50"
CHAPTER = "MLP 13-4-1"
TABLE_WIDTH = 32


def shapes(title: str) -> Shapes:
    """Return the shapes of the variables of the list with this title."""
    if title == ODD:
        generator = np.random.default_rng(0)
        return [tuple(generator.integers(1, 18, k % 4).tolist()) for k in range(120)]
    if title == RESNET50:
        from keras.applications import ResNet50

        model = ResNet50(weights=None)
        return [tuple(variable.shape) for variable in model.trainable_variables]
    if title == CHAPTER:
        return [(13, 4), (4,), (4, 1), (1,)]
    count, _, shape = title.replace(",", "").partition(" of ")
    return [tuple(map(int, shape.split("×")))] * int(count)


@lru_cache(maxsize=1)
def arrays(title: str) -> tuple[Arrays, Arrays]:
    """Return values and gradients of the variables, in float32."""
    draw = np.random.default_rng(0).standard_normal
    drawn = [np.asarray(draw((2, *shape), np.float32)) for shape in shapes(title)]
    return [two[0] for two in drawn], [np.float32(0.1) * two[1] for two in drawn]


def table_title(rows: int) -> str:
    return f"{rows:,} × {TABLE_WIDTH}"


def rows_of(title: str) -> int:
    """Return the rows in a title that `table_title` made."""
    return int(title.partition(" ")[0].replace(",", ""))


def zipf(
    rows: int, shape: tuple[int, ...], generator: np.random.Generator
) -> np.ndarray:
    """Return row numbers; the k-th most frequent of them has the frequency 1/k.

    The frequent rows are scattered over the table.
    """
    ranks = np.floor((rows + 1) ** generator.random(shape)).astype(np.int64) - 1
    return generator.permutation(rows)[np.minimum(ranks, rows - 1)].astype(np.int32)
