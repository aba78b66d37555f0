"""What a step costs, by formula: bytes on the wire, of state, and of memory moved.

Each of `N` workers has a copy of the variables, as under `MultiWorkerMirroredStrategy`.
The gradients are summed in one of two ways, both around a ring:

- A dense gradient is cut into `N` pieces. Each piece goes `N − 1` times from worker to
  worker until it is a sum, and `N − 1` times more until all have it.
- Rows are not added on the way: each worker gets every other's rows with their indices.

A formula counts what has to travel and nothing of the protocol. Numbers are float32,
indices int32.
"""

from benchmarks.workers.floor import FLOAT_BYTES

INDEX_BYTES = 4
# A worker says how many rows it has before it sends them.
LENGTH_BYTES = 4

# Beside each parameter, float32.
SLOTS = {"SGD": 0, "Momentum": 1, "Adam": 2, "Adam, amsgrad": 3}


def row_bytes(width: int) -> int:
    """`4W + 4`: the numbers of a row, and its index."""
    return FLOAT_BYTES * width + INDEX_BYTES


def dense_sum(workers: int, parameters: int) -> int:
    """`2(N − 1)·4P`: what all workers send for the sum of dense gradients."""
    return 2 * (workers - 1) * FLOAT_BYTES * parameters


def sum_of_rows(workers: int, touched: int, width: int) -> int:
    """`N(N − 1)·(r(4W + 4) + 4)`: what all send where each touches `r` rows."""
    of_one = touched * row_bytes(width) + LENGTH_BYTES
    return workers * (workers - 1) * of_one


def crossover(workers: int, rows: int, width: int) -> float:
    """`r = 2V·W/((W + 1)·N)`: from here on rows cost more than the table's dense sum.

    The length that goes before the rows is left out.
    """
    return 2 * rows * width / ((width + 1) * workers)


def state(
    slots: int,
    parameters: int,
    narrow: bool = False,
    average: bool = False,
    accumulator: bool = False,
) -> int:
    """`4P(s + …)`: the bytes of the optimizer's state beside `P` parameters.

    Args:
        slots: How many the optimizer has; see `SLOTS`.
        parameters: How many numbers the variable has.
        narrow: Whether it has 16 bits, and so a carry.
        average: Whether `use_ema` keeps an average.
        accumulator: Whether `gradient_accumulation_steps` keeps a sum.
    """
    return FLOAT_BYTES * parameters * (slots + narrow + average + accumulator)


def seconds(count: float, bytes_per_second: float) -> float:
    """`bytes ÷ rate`: the least time in which so many bytes move, wire or memory."""
    return count / bytes_per_second
