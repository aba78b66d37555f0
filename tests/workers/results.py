"""The arrays that programs left in a folder, by `{case}/{where}/{variable}`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# Many processes add up the rows of a batch in another order than one does: that is a
# rounding, 6e-8 of variables below 1, in each of six steps.
TOLERANCE = 1e-6
Values = dict[str, np.ndarray]


class Results:
    """The arrays that each process wrote."""

    def __init__(self, folder: Path, count: int):
        self._written = [self._read(folder / f"{k}.npz") for k in range(count)]

    @staticmethod
    def _read(path: Path) -> Values:
        with np.load(path) as arrays:
            return dict(arrays)

    def of(self, case: str, where: str) -> list[Values]:
        """The variables of a case, from each process that has them."""
        prefix = f"{case}/{where}/"
        found = [
            {
                k.removeprefix(prefix): v
                for k, v in written.items()
                if k.startswith(prefix)
            }
            for written in self._written
        ]
        return [values for values in found if values]

    def distance(self, case: str, where: str) -> float:
        """How far the first variables from there are from those of one process."""
        return distance(self.of(case, where)[0], self.of(case, "alone")[0])

    def scalars(self, name: str) -> list[int]:
        """A number that each process wrote under this name."""
        return [int(written[name]) for written in self._written]


def by_place(variables: list, optimizer: Any, read: Callable) -> dict[str, Any]:
    """The result of `read` for the variables of a model and its optimizer, by place.

    A path has a number that counts the models of a process.
    """
    kinds = {"model": variables, "optimizer": optimizer.variables}
    return {
        f"{kind}/{place}": read(variable)
        for kind, found in kinds.items()
        for place, variable in enumerate(found)
    }


def distance(a: Values, b: Values) -> float:
    """How far the variables are from each other; they must be the same ones."""
    assert a.keys() == b.keys()
    assert all(a[key].shape == b[key].shape for key in a)
    differences = [np.abs(a[k].astype("f8") - b[k].astype("f8")) for k in a]
    return max(d.max(initial=0.0) for d in differences)


def identical(a: Values, b: Values) -> bool:
    """Whether they are the same to the bit."""
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)
