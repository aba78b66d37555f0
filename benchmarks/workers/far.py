"""The formulas where nobody has measured: many workers, and a very large table."""

from dataclasses import dataclass

from benchmarks import markdown
from benchmarks.steps import floor
from benchmarks.workers import model
from benchmarks.workers.counts import size


@dataclass(frozen=True)
class Setting:
    """What is assumed. Rates are in bytes a second, for one worker."""

    workers: int = 64
    rows: int = 1_000_000_000
    width: int = 64
    touched: int = 16_384
    network: float = 100e9 / 8
    memory: float = 200e9
    slots: int = model.SLOTS["Adam"]

    @property
    def parameters(self) -> int:
        return self.rows * self.width

    @property
    def touched_by_all(self) -> int:
        """Numbers in the rows of all workers, were they all different."""
        return self.workers * self.touched * self.width


@dataclass(frozen=True)
class Step:
    """What one step sends, all workers together, and what it moves in one's memory."""

    name: str
    wire: int
    moved: int


def steps(setting: Setting) -> tuple[Step, ...]:
    """The same step in three ways."""
    rows = model.sum_of_rows(setting.workers, setting.touched, setting.width)
    dense = model.dense_sum(setting.workers, setting.parameters)
    numbers, touched, slots = setting.parameters, setting.touched_by_all, setting.slots
    return (
        Step("rows, `lazy`", rows, floor.lazy(touched, slots)),
        Step("rows, `exact`", rows, floor.exact(numbers, touched, slots)),
        Step("dense gradient", dense, floor.dense(numbers, slots)),
    )


def report(setting: Setting | None = None) -> str:
    """Return the assumptions, what a worker holds, and what a step costs."""
    setting = setting or Setting()
    return "\n\n".join([_assumed(setting), _held(setting), _cost(setting)])


def _assumed(setting: Setting) -> str:
    return (
        f"A table of {setting.rows:,} rows of {setting.width} float32 on "
        f"{setting.workers} workers, of which each has a copy and touches "
        f"{setting.touched:,} different rows in a step, none of them another worker's. "
        f"Assumed: {setting.network * 8 / 1e9:.0f} Gbit/s for each worker in each "
        "direction, all at once and without delay, and memory that moves "
        f"{setting.memory / 1e9:.0f} GB/s. The times are the least that these rates "
        "allow. No such table was trained, and more than "
        "four workers were not run."
    )


def _held(setting: Setting) -> str:
    parameters = floor.FLOAT_BYTES * setting.parameters
    return markdown.table(
        [
            {
                "a worker holds": f"`{name}`",
                "parameters": size(parameters),
                "slots": size(model.state(slots, setting.parameters)),
                "together": size(parameters + model.state(slots, setting.parameters)),
            }
            for name, slots in model.SLOTS.items()
        ]
    )


def _cost(setting: Setting) -> str:
    return markdown.table(
        [
            {
                "a step of `Adam`": step.name,
                "on the wire, all": size(step.wire),
                "one worker sends": size(step.wire / setting.workers),
                "network": _time(step.wire / setting.workers, setting.network),
                "moved in a memory": size(step.moved),
                "memory": _time(step.moved, setting.memory),
            }
            for step in steps(setting)
        ]
    )


def _time(count: float, rate: float) -> str:
    seconds = model.seconds(count, rate)
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1_000 * seconds:.1f} ms"
