"""The formulas where nobody has measured: many workers, and a very large table."""

from benchmarks import report
from benchmarks.workers import model
from benchmarks.workers.counts import size

WORKERS, ROWS, WIDTH, TOUCHED = 64, 1_000_000_000, 64, 16_384
NUMBERS = ROWS * WIDTH
# In the rows of all workers, were they all different.
OF_TOUCHED = WORKERS * TOUCHED * WIDTH
# Bytes a second, of one worker.
NETWORK, MEMORY = 100e9 / 8, 200e9
ASSUMED = (
    f"A table of {ROWS:,} rows of {WIDTH} float32 on {WORKERS} workers, of which each "
    f"has a copy and touches {TOUCHED:,} different rows in a step, none of them "
    f"another worker's. Assumed: {NETWORK * 8 / 1e9:.0f} Gbit/s for each worker in "
    "each direction, all at once and without delay, and memory that moves "
    f"{MEMORY / 1e9:.0f} GB/s. The times are the least that these rates allow. No such "
    "table was trained, and more than four workers were not run."
)


def held() -> str:
    """Return what a worker holds, by optimizer."""
    return report.table(
        [
            {
                "a worker holds": f"`{name}`",
                "parameters": size(model.held(NUMBERS, 1)),
                "slots": size(model.held(NUMBERS, slots)),
                "together": size(model.held(NUMBERS, 1 + slots)),
            }
            for name, slots in model.SLOTS.items()
        ]
    )


def cost() -> str:
    """Return what the same step sends and moves in three ways."""
    rows = model.sum_of_rows(WORKERS, TOUCHED, WIDTH)
    dense = model.dense_sum(WORKERS, NUMBERS)
    ways = [
        _cost("rows, `lazy`", rows, OF_TOUCHED, OF_TOUCHED),
        _cost("rows, `exact`", rows, NUMBERS, OF_TOUCHED),
        _cost("dense gradient", dense, NUMBERS, NUMBERS),
    ]
    return report.table(ways)


def _cost(name: str, wire: int, updated: int, gradient: int) -> dict[str, str]:
    moved = model.moved(updated, model.SLOTS["Adam"], gradient)
    return {
        "a step of `Adam`": name,
        "on the wire, all": size(wire),
        "one worker sends": size(wire / WORKERS),
        "network": _time(wire / WORKERS / NETWORK),
        "moved in a memory": size(moved),
        "memory": _time(moved / MEMORY),
    }


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1_000 * seconds:.1f} ms"
