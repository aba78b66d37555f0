"""The results as Markdown and as JSON, written from the same figures."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks import markdown
from benchmarks.steps import bandwidth, networks, peers
from benchmarks.steps.figures import (
    LAZY,
    OURS,
    XLA,
    Measurement,
    Part,
    Results,
    Spread,
    contenders,
    part_from_json,
    ratio_name,
)
from benchmarks.steps.plans import FULL, QUICK
from benchmarks.steps.requirements import REQUIREMENTS, Requirement

TABLE = "table.md"
REPORT = "README.md"
JSON = "results.json"
MEMORY = "memory"
PEERS = "peers"
TITLES = {
    "dense": "Dense gradients",
    "sparse": "Sparse gradients",
    "models": "Whole training steps",
    MEMORY: "Extra memory of a step",
    PEERS: "Other libraries",
    "jax": "On JAX",
    "torch": "On PyTorch",
}
PLANS = {plan.name: plan for plan in (FULL, QUICK)}

Row = dict[str, str]


def read(folder: Path) -> Results:
    """Return the results of an earlier run in the folder, or none."""
    if not (folder / JSON).exists():
        return Results({})
    content = json.loads((folder / JSON).read_text(encoding="utf-8"))
    parts = content["parts"].items()
    return Results({name: part_from_json(part) for name, part in parts})


def write(results: Results, plots: Iterable[str], folder: Path) -> None:
    """Write the table, the report around it, and the JSON file into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TABLE).write_text(table(results) + "\n", encoding="utf-8")
    (folder / REPORT).write_text(report(results, plots), encoding="utf-8")
    content = json.dumps(asdict(results), indent=1, ensure_ascii=False)
    (folder / JSON).write_text(content + "\n", encoding="utf-8")


def table(results: Results) -> str:
    """Return what the steps must reach, what they reach, and the verdicts."""
    if any(part.plan != FULL.name for part in results.parts.values()):
        return (
            "A quick run: its sizes are not those of the requirements, so there is no "
            "verdict."
        )
    return markdown.table([_requirement_row(each, results) for each in REQUIREMENTS])


def report(results: Results, plots: Iterable[str]) -> str:
    """Return the table, every measurement, the plots and the setting."""
    sections = [
        "# The time of one step",
        "Written by `python -m benchmarks steps`.",
        table(results),
        _legend(),
        *(f"![{Path(plot).stem}]({plot})" for plot in plots),
    ]
    for name, part in results.parts.items():
        sections += [f"## {TITLES[name]}", *_part(name, part)]
    return "\n\n".join(sections) + "\n"


def _requirement_row(requirement: Requirement, results: Results) -> Row:
    bound = "at least" if requirement.at_least else "at most"
    figures = requirement.measured(results).items()
    return {
        "case": requirement.case,
        "must reach": f"{bound} {requirement.limit:g}{requirement.unit}",
        "measured": "; ".join(
            f"{label} {_plain(figure)}".strip() for label, figure in figures
        ),
        "verdict": requirement.verdict(results),
    }


def _legend() -> str:
    return (
        "Every figure is a median, with the quartiles in brackets. Within a case all "
        "contenders take turns, round after round, in one process, after rounds to "
        "warm up; a turn is two steps, of which the second is timed, and a step ends "
        "when its result is there. A ratio is the median of the ratios within a round. "
        f"Only the contenders on a table of more than {FULL.largest_together:,} rows "
        "are timed one after the other, because their tables do not fit into memory "
        "together.\n\n"
        "*Floor*: the bytes that the update must move, over the bandwidth of this "
        "machine's memory; the columns with ÷ floor are the distance from it. Small "
        "variables stay in the processor's caches and their steps are the calls' "
        "overhead: that floor is far below them."
    )


def _part(name: str, part: Part) -> list[str]:
    if not part.measurements:
        return ["Not available on this system.", _setting(part)]
    sections = [*_notes(name)]
    for mode in dict.fromkeys(each.mode for each in part.measurements):
        measurements = [each for each in part.measurements if each.mode == mode]
        if mode == XLA:
            sections.append("Under `jit_compile=True`:")
        sections += _tables(name, part, measurements)
    return [*sections, _setting(part)]


def _notes(name: str) -> list[str]:
    if name == "models":
        described = networks.DESCRIPTIONS.items()
        return [
            "One call of the function that `model.fit` calls for a step. The floor is "
            "that of the update alone.",
            "\n".join(f"- {model}: {text}." for model, text in described),
        ]
    if name == "sparse":
        return [
            "Ids are drawn by Zipf's law with exponent 1, repeats included; another "
            "batch in each step. `exact` and the built-in move the whole table, `lazy` "
            "the touched rows."
        ]
    if name == MEMORY:
        return [
            "Peak of the bytes in TensorFlow's allocator during one step, beyond those "
            "before it, in copies of the gradient; graph mode."
        ]
    if name in ("jax", "torch"):
        return [
            "Before they are timed, all contenders take the same step, or the run "
            "ends. `ResNet50` is the list of its variables. A clip is of each gradient "
            "by its own norm, and all but the smallest are clipped; `torch.optim` "
            "scales them in place. JAX's steps are jitted, their buffers donated."
        ]
    if name == PEERS:
        return [
            "PyTorch and optax put ε elsewhere in the formula, at the same cost. "
            f"`{peers.TORCH_SPARSE}` moves the touched rows, as `lazy` does; "
            f"`{peers.LEGACY}` moves the whole table. PyTorch's clip scales the "
            "gradient in place."
        ]
    return []


def _tables(name: str, part: Part, measurements: Sequence[Measurement]) -> list[str]:
    """Return one table for each set of contenders, so that no cell is empty."""
    if name == PEERS:
        return [_by_contender(part, each) for each in measurements]
    groups: dict[tuple[str, ...], list[Measurement]] = {}
    for each in measurements:
        groups.setdefault(tuple(contenders([each])), []).append(each)
    unit = "" if name == MEMORY else ", ms"
    return [
        markdown.table([_row(part, each, unit) for each in group])
        for group in groups.values()
    ]


def _by_contender(part: Part, measurement: Measurement) -> str:
    """Return a table with a row for each contender: there are many."""
    ours = LAZY if LAZY in measurement.values else OURS
    rows = []
    for name, value in measurement.values.items():
        floor = part.floor(measurement, name) or math.nan
        ratio = measurement.ratios.get(ratio_name(name, ours))
        rows.append(
            {
                "case": measurement.case,
                "optimizer": measurement.optimizer,
                "whose": name,
                "ms": spread(value),
                f"÷ {ours}": "" if ratio is None else spread(ratio),
                "floor, ms": _plain(floor),
                "÷ floor": _plain(value.median / floor),
            }
        )
    return markdown.table(rows)


def _row(part: Part, measurement: Measurement, unit: str) -> Row:
    floors = {
        name: floor
        for name in measurement.values
        if (floor := part.floor(measurement, name)) is not None
    }
    return {
        "case": measurement.case,
        "optimizer": measurement.optimizer,
        **{
            f"{name}{unit}": spread(value) for name, value in measurement.values.items()
        },
        **{name: spread(ratio) for name, ratio in measurement.ratios.items()},
        **_floor_cells(floors),
        **{
            f"{name} ÷ floor": _plain(measurement.values[name].median / floor)
            for name, floor in floors.items()
        },
    }


def _floor_cells(floors: dict[str, float]) -> Row:
    if not floors:
        return {}
    distinct = set(floors.values())
    if len(distinct) == 1:
        return {"floor, ms": _plain(distinct.pop())}
    cells = "; ".join(f"{name} {_plain(floor)}" for name, floor in floors.items())
    return {"floor, ms": cells}


def _setting(part: Part) -> str:
    machine, versions = part.machine, part.versions
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    plan = PLANS[part.plan]
    how = bandwidth.HOW.format(
        tries=plan.bandwidth_tries, elements=plan.bandwidth_elements
    )
    return (
        f"{part.date}, {part.seconds:.0f} s, load before it {part.load:.2f}; "
        f"{machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['system']}; {packages}. Memory moves "
        f"{part.bandwidth / 1e9:.1f} GB/s: {how}."
    )


def spread(figure: Spread) -> str:
    """Return the median, with the quartiles where they differ."""
    if figure.lower == figure.upper:
        return _plain(figure.median)
    median, lower, upper = map(_plain, (figure.median, figure.lower, figure.upper))
    return f"{median} ({lower} … {upper})"


def _plain(figure: float) -> str:
    """Return three digits, two for the small, and never an exponent."""
    if math.isnan(figure):
        return "?"
    if figure >= 100:
        return f"{figure:,.0f}"
    if figure >= 10:
        return f"{figure:.1f}"
    if figure >= 0.1 or figure == 0:
        return f"{figure:.2f}"
    return np.format_float_positional(figure, 2, fractional=False, trim="-")
