"""The rate at which this machine's cores move memory."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.machine import cores

FLOAT_BYTES = 4
# `a += b` reads `a`, reads `b` and writes `a`.
MOVES = 3

HOW = (
    "the best of {tries} runs of `a += b` in NumPy over {elements:,} float32, cut into "
    "one thread a core, counted as two reads and one write"
)


def bytes_per_second(elements: int, tries: int) -> float:
    """Return the bandwidth of `a += b`, the best of some tries."""
    threads = cores()
    a = np.array_split(np.ones(elements, np.float32), threads)
    b = np.array_split(np.ones(elements, np.float32), threads)
    with ThreadPoolExecutor(threads) as pool:
        seconds = min(_seconds(pool, a, b) for _ in range(tries))
    return MOVES * FLOAT_BYTES * elements / seconds


def _seconds(
    pool: ThreadPoolExecutor, a: list[np.ndarray], b: list[np.ndarray]
) -> float:
    start = time.perf_counter()
    list(pool.map(_add, a, b))
    return time.perf_counter() - start


def _add(a: np.ndarray, b: np.ndarray) -> None:
    np.add(a, b, out=a)
