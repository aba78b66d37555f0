"""What memory allows: the time in which it can move what an update must move.

An update reads the gradient, and reads and writes the variable and each slot; a norm is
known only after a read of the whole gradient. As much is moved here, in that mix of
reads and writes, by loops that do next to nothing else; the fastest try of the fastest
loop is the floor.
"""

import timeit
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.machine import cores
from benchmarks.steps.optimizers import Case
from benchmarks.timing import Step

# The first warms up.
TRIES = 6
# Elements that a core takes at a time: what several arrays want comes from memory once.
BLOCKS = (2**15, 2**16, 2**18)
# What is moved on an accelerator: enough that a call's own time is nothing beside it.
LARGE = 2**26

# Given how many arrays to write: what does so, and how many arrays that moves.
Loops = Callable[[int], Iterable[tuple[Step, float]]]


@dataclass(frozen=True)
class Moves:
    """The arrays that an update moves, each as long as all variables together.

    `written` are read and written in place, `read` are read beside them, and `norms`
    before them.
    """

    read: float
    written: float
    norms: float = 0.0


def moves(case: Case) -> Moves:
    """Return the moves of an update, in arrays of float32."""
    kept = case.equation.slots + case.option.averages
    gradient = 1.0 if case.option.dtype == "float32" else 0.5
    # With half a variable of 16 bits goes half a carry.
    return Moves(gradient, 1 + kept, gradient * case.option.norms)


class Floor:
    """The milliseconds that moves take, by the best of all tries until now."""

    def __init__(self, loops: Loops):
        self._loops = loops
        self._an_array: dict[int, float] = {}

    def try_again(self, moved: Moves) -> None:
        """Try each loop some times, now that the machine may be quieter."""
        for written in (round(moved.written), *([0] if moved.norms else [])):
            tries = [_fastest(it) / arrays for it, arrays in self._loops(written)]
            best = self._an_array.get(written, float("inf"))
            self._an_array[written] = min([best, *tries])

    def milliseconds(self, moved: Moves) -> float:
        update = self._an_array[round(moved.written)]
        norms = self._an_array[0] * moved.norms if moved.norms else 0.0
        return update * (moved.read + 2 * moved.written) + norms


def floor_of(elements: int, accelerator: Any = None) -> Floor:
    """Return the floor of arrays of so many float32.

    It is measured in this mix of moves, but for an accelerator: there it is what the
    backend's module moves in one way, in proportion.
    """
    if accelerator:
        return Floor(lambda written: accelerator.loops(elements))
    return Floor(partial(on_processor, [np.ones(elements, np.float32)]))


def on_processor(
    arrays: list[np.ndarray], written: int
) -> Iterator[tuple[Step, float]]:
    """Return the loops that add the first of the arrays to others, made at need."""
    while len(arrays) <= written:
        arrays.append(np.ones_like(arrays[0]))
    g, *kept = arrays[: written + 1]
    moved = 1 + 2 * written
    with ThreadPoolExecutor(cores()) as pool:
        for block in BLOCKS:
            yield _in_blocks(pool, g, kept, block), moved
    if find_spec("torch"):
        yield _with_torch(g, kept), moved


def _in_blocks(
    pool: ThreadPoolExecutor, g: np.ndarray, kept: list[np.ndarray], block: int
) -> Step:
    """NumPy's kernels, on a share of the arrays in each core."""
    share = -(-len(g) // cores())

    def move(start: int) -> None:
        for first in range(start, start + share, block):
            piece = slice(first, min(first + block, start + share))
            for array in kept:
                np.add(array[piece], g[piece], out=array[piece])
            if not kept:
                np.add.reduce(g[piece])

    return lambda: list(pool.map(move, range(0, len(g), share)))


def _with_torch(g: np.ndarray, kept: list[np.ndarray]) -> Step:
    """PyTorch's kernels, one array after the other: best where caches hold them all."""
    import torch

    gradient, *arrays = map(torch.from_numpy, (g, *kept))

    def move() -> None:
        for array in arrays:
            array.add_(gradient)
        if not arrays:
            gradient.sum()

    return move


def _fastest(loop: Step) -> float:
    return 1e3 * min(timeit.repeat(loop, number=1, repeat=TRIES))
