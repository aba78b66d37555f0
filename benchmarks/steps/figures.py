"""What is measured, as it is kept in JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

OURS = "ours"
EXACT = "exact"
LAZY = "lazy"
BUILTIN = "built-in"
GRAPH = "graph"
XLA = "jit_compile"
RATIO = " ÷ "


@dataclass(frozen=True)
class Spread:
    """The median of repeated measurements, between their quartiles."""

    median: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Measurement:
    """One case under one optimizer, for every contender.

    Args:
        case: What is updated or trained.
        optimizer: The optimizer and its option, as "Adam + clipnorm".
        mode: `GRAPH` or `XLA`.
        values: By contender, milliseconds; in the part "memory", copies of a gradient.
        ratios: By `ratio_name`, the ratio of two contenders of one round.
        bytes: By contender, what the update must move.
    """

    case: str
    optimizer: str
    mode: str
    values: Mapping[str, Spread]
    ratios: Mapping[str, Spread]
    bytes: Mapping[str, int]


@dataclass(frozen=True)
class Part:
    """The measurements of one part, and where and when they were taken.

    `bandwidth` is in bytes a second, `load` the system's load before the part.
    """

    plan: str
    date: str
    seconds: float
    load: float
    bandwidth: float
    versions: Mapping[str, str]
    machine: Mapping[str, str | int | float]
    measurements: tuple[Measurement, ...]

    def floor(self, measurement: Measurement, contender: str) -> float | None:
        """Return the milliseconds in which memory could move the update's bytes."""
        moved = measurement.bytes.get(contender)
        return None if moved is None else 1000 * moved / self.bandwidth


@dataclass(frozen=True)
class Results:
    """All parts that were measured, by name."""

    parts: Mapping[str, Part]

    def find(self, part: str, case: str, optimizer: str, mode: str) -> Measurement:
        """Return the measurement of that name.

        Raises:
            LookupError: It was not measured.
        """
        for measurement in self.parts[part].measurements:
            found = (measurement.case, measurement.optimizer, measurement.mode)
            if found == (case, optimizer, mode):
                return measurement
        raise LookupError(f"{part}: {case}, {optimizer}, {mode}")


def ratio_name(over: str, under: str) -> str:
    return f"{over}{RATIO}{under}"


def contenders(measurements: Iterable[Measurement]) -> list[str]:
    """Return the names of all contenders, in the order of their appearance."""
    return list(dict.fromkeys(name for each in measurements for name in each.values))


def part_from_json(content: Mapping[str, Any]) -> Part:
    measurements = map(measurement_from_json, content["measurements"])
    return Part(**{**content, "measurements": tuple(measurements)})


def measurement_from_json(content: Mapping[str, Any]) -> Measurement:
    return Measurement(
        **{
            **content,
            "values": _spreads(content["values"]),
            "ratios": _spreads(content["ratios"]),
        }
    )


def _spreads(content: Mapping[str, Mapping[str, float]]) -> dict[str, Spread]:
    return {name: Spread(**spread) for name, spread in content.items()}
