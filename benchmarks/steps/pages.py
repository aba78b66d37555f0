"""The pages of the results: what was to be reached, and every row."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from benchmarks import report, rows, setting
from benchmarks.report import between, number
from benchmarks.rows import QUARTILES, ratio_name
from benchmarks.setting import Setting
from benchmarks.steps import networks, plans, plots, requirements
from benchmarks.steps.contender import BEST, FLOOR, MILLISECONDS
from benchmarks.steps.optimizers import BUILTIN, OPTIONS, OURS, WITHOUT
from benchmarks.steps.plans import FULL

NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
LEGEND = (
    "Every figure is a median, with the quartiles in brackets. Within a case all "
    "contenders take turns, round after round, in one process for each backend, after "
    "rounds to warm up; a turn is two steps, of which the second is timed, and a step "
    "ends when its result is there. Before they are timed all take the same step from "
    "the same arrays, or the run ends. A ratio is the median of the ratios within a "
    "round: above 1, the second is the faster. *Floor* is the shortest time in which "
    "memory was seen to move what the step must move, in its mix of reads and writes."
)
# Of each part, its title and what a reader must know.
PARTS = {
    plans.DENSE: (
        "Dense gradients",
        "`ResNet50` is the list of its variables. `clipnorm` takes each gradient by "
        "itself. TensorFlow's steps are graphs, JAX's are jitted and their buffers "
        "donated, PyTorch's are eager. A 16-bit step of ours carries what the variable "
        "has no bits for; the built-in rounds it away.",
    ),
    plans.SPARSE: (
        "Sparse gradients",
        "Ids are drawn by Zipf's law with exponent 1, repeats included; another batch "
        "in each step. `exact`, the built-in and `tf_keras` move the whole table, "
        "`lazy` and `SparseAdam` the touched rows. Contenders on a table of more than "
        f"{FULL.largest_together:,} rows are timed one after the other, because "
        "their tables do not fit into memory together.",
    ),
    plans.MODELS: (
        "Whole training steps",
        "*Step* is one call of the function that `model.fit` calls for a step, "
        "*update* the optimizer's part of it by itself, on the same gradients.\n\n"
        + "\n".join(f"- {name}: {text}." for name, text in networks.TEXTS.items()),
    ),
    plans.MEMORY: (
        "Extra memory of a step",
        "Peak of the bytes in TensorFlow's allocator during one step, beyond those "
        "before it, in copies of the gradient; graph mode.",
    ),
    plans.FIRST: (
        "The first step, and an eager one",
        "From an optimizer that is built to the end of its first step, and a later "
        "step that is not compiled.",
    ),
    plans.FILES: (
        "Saving and loading",
        "A compiled model with the slots of Adam, as a `.keras` file on this machine's "
        "disk.",
    ),
}


def publish(folder: Path) -> str:
    """Write the pages and the plots of the folder's rows, and return what to say."""
    found, settings = rows.read(folder), setting.read(folder)
    report.write(
        folder,
        title="The time of one step",
        command="steps",
        table=table(found, settings),
        sections=_sections(found, settings),
        plots=plots.write(found, folder),
    )
    return table(found, settings)


def table(found: pd.DataFrame, settings: Mapping[str, Setting]) -> str:
    """Return what the steps must reach, what they reach, and the verdicts."""
    others = {each["plan"] for each in settings.values()} - {FULL.name}
    if others:
        return (
            f"A run that is {', '.join(sorted(others))}: the requirements are of full "
            "sizes on a processor, so there is no verdict."
        )
    return requirements.table(found)


def nearest_to_floor(found: pd.DataFrame) -> tuple[float, str]:
    """Return the smallest ratio of a median to its floor, and whose it is."""
    keys = ["part", "case", "backend", "size"]
    medians = rows.find(found, part=plans.DENSE, quantile=0.5, unit=MILLISECONDS)
    floors = rows.find(found, subject=FLOOR)[[*keys, "value"]]
    # These leave out what the case adds, and move less.
    ours_alone = tuple(
        it.name for it in OPTIONS.values() if it.watched or not it.keras_has_it
    )
    less = (medians["subject"] == BUILTIN) & medians["case"].str.endswith(ours_alone)
    medians = medians[(medians["subject"] != WITHOUT) & ~less]
    both = medians.merge(floors, on=keys, suffixes=("", "_floor"))
    over = both["value"] / both["value_floor"]
    nearest = both.loc[over.idxmin()]
    return float(over.min()), ", ".join(nearest[["subject", *keys[1:]]])


def _sections(found: pd.DataFrame, settings: Mapping[str, Setting]) -> Iterator[str]:
    yield LEGEND
    if FLOOR in set(rows.find(found, part=plans.DENSE)["subject"]):
        least, whose = nearest_to_floor(found)
        yield f"Nearest to its floor: {whose}, {number(least)} times."
    for part, its_setting in settings.items():
        title, note = PARTS[part]
        yield f"## {title}"
        yield note
        for backend, its_rows in rows.find(found, part=part).groupby(
            "backend", sort=False
        ):
            name, _, mode = str(backend).partition(", ")
            yield f"### On {NAMES[name]}" + (f", `{mode}`" if mode else "")
            yield from _tables(its_rows)
        yield _where(its_setting)


def _tables(found: pd.DataFrame) -> Iterator[str]:
    """Return a table for each unit and set of subjects, so that few cells are empty."""
    for unit, of_unit in found.groupby("unit", sort=False):
        lines = [
            {"size": str(size), "case": str(case), **_cells(of_case, str(unit))}
            for (size, case), of_case in of_unit.groupby(["size", "case"], sort=False)
        ]
        yield report.table(lines)


def _cells(found: pd.DataFrame, unit: str) -> dict[str, str]:
    behind = f", {unit}" if unit else ""
    cells, medians = {}, {}
    for subject, its_rows in found.groupby("subject", sort=False):
        values = its_rows.set_index("quantile")["value"]
        middle = values.get(0.5, values.get(BEST))
        lower, upper = (values.get(it, middle) for it in (QUARTILES[0], QUARTILES[-1]))
        cells[f"{subject}{behind}"] = between(lower, middle, upper)
        medians[subject] = middle
    if {OURS, FLOOR} <= set(medians):
        cells[ratio_name(OURS, FLOOR)] = number(medians[OURS] / medians[FLOOR])
    return cells


def _where(its_setting: Setting) -> str:
    devices = {NAMES[it]: name for it, name in its_setting.get("devices", {}).items()}
    named = ", ".join(f"{it} on {name}" for it, name in devices.items())
    return setting.in_words(its_setting) + (f" {named}." if named else "")
