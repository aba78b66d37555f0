"""What a step costs, by formula: bytes on the wire, of state, and of memory moved.

Each of `N` workers has a copy of the variables, as under `MultiWorkerMirroredStrategy`.
The gradients are summed in one of two ways, both around a ring:

- A dense gradient is cut into `N` pieces. Each piece goes `N − 1` times from worker to
  worker until it is a sum, and `N − 1` times more until all have it.
- Rows are not added on the way: each worker gets every other's rows with their indices.

A formula counts what has to travel and nothing of the protocol. Numbers are float32,
indices int32.
"""

FLOAT_BYTES = INDEX_BYTES = 4
# A worker says how many rows it has before it sends them.
LENGTH_BYTES = 4

# Beside each parameter, float32.
SLOTS = {"SGD": 0, "Momentum": 1, "Adam": 2, "Adam, amsgrad": 3}


def dense_sum(workers: int, parameters: int) -> int:
    """`2(N − 1)·4P`: what all workers send for the sum of dense gradients."""
    return 2 * (workers - 1) * FLOAT_BYTES * parameters


def sum_of_rows(workers: int, touched: int, width: int) -> int:
    """`N(N − 1)·(r(4W + 4) + 4)`: what all send where each touches `r` rows."""
    of_one = touched * (FLOAT_BYTES * width + INDEX_BYTES) + LENGTH_BYTES
    return workers * (workers - 1) * of_one


def held(parameters: int, copies: int) -> int:
    """`4P·k`: what `k` numbers beside each of `P` parameters take.

    Each slot is one, see `SLOTS`; so is the average of `use_ema`, the sum of
    `gradient_accumulation_steps`, and the carry of a variable of 16 bits.
    """
    return FLOAT_BYTES * parameters * copies


def moved(parameters: int, slots: int, gradient: int) -> int:
    """`4(2P(1 + s) + G)`: what an update moves in memory, at the least.

    It reads and writes `P` parameters with their slots, and reads `G` numbers of the
    gradient. `lazy` updates the rows that were touched alone; `exact` the whole table,
    but with no slots, where an absent row does not move.
    """
    return FLOAT_BYTES * (2 * parameters * (1 + slots) + gradient)
