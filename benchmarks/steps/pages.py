"""The report of the results: every row, as speed-ups in tables, and the limits."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks import report, rows
from benchmarks.figures import BACKENDS
from benchmarks.report import number
from benchmarks.steps import limits, pictures
from benchmarks.steps.cases import BUILTIN, OURS
from benchmarks.steps.plans import MODELS

SLOWER = 0.97
LEGEND = (
    "Each cell: time of `keras.optimizers` over ours, so above 1× ours is faster, and "
    "our time in brackets; another name in a column or a line replaces the one or the "
    "other. Figures are medians: contenders take turns in one process, every result is "
    "waited for, and the updates are checked to be the same. TensorFlow runs graphs, "
    "JAX jitted steps with donated buffers, PyTorch eager steps. `clipnorm` clips each "
    "variable's gradient by itself."
)
# Of each part, its heading and a note.
PARTS = {
    "models": "## Whole training steps\n\n`fit` is an epoch divided by its steps, a "
    "first step the first `train_on_batch`, which compiles. The models:\n\n"
    + "\n".join(f"- {name}: {about}." for name, about in MODELS.items()),
    "update": "## The update alone\n\nFirst steps start with a new optimizer; an "
    "eager step is a later one without compilation. In bfloat16, ours carries the bits "
    "that the variable cannot hold, and the built-in drops them.",
    "embeddings": "## Sparse gradients\n\n1,024 rows of a table by Zipf's law. `ours` "
    "moves the whole table, `ours, lazy` the rows of the batch.",
    "load": "## Load a model\n\nA compiled model with the slots of Adam, in `.keras`.",
}


def publish(folder: Path) -> str:
    """Write the report and the pictures, and return the text to print."""
    found = rows.read(folder)
    return report.write(
        folder,
        title="The time of a training step",
        command="steps",
        table=LEGEND,
        printed=limits.check(found),
        pictures=pictures.write(found, folder),
        sections=_sections(found),
    )


def _sections(found: pd.DataFrame) -> Iterator[str]:
    for part, its_rows in found.groupby("part", sort=False):
        yield PARTS[str(part)]
        for (what, cores), same in its_rows.groupby(["what", "cores"], sort=False):
            yield f"### {str(what).capitalize()}, cores: {cores}\n\n{table(same)}"


def table(found: pd.DataFrame) -> str:
    """Return a line for each case of a size, and a column for each backend."""
    cell = found["ratio"].map(number) + "× (" + found["value"].map(number) + ")"
    units = found["unit"].iloc[0]
    columns = found["backend"].map(lambda it: BACKENDS[it][0])
    columns += ("; " + found["other"]).mask(found["other"] == BUILTIN, "")
    lines = found["case"] + (", " + found["subject"]).mask(found["subject"] == OURS, "")
    named = pd.DataFrame({"size": found["size"], f"our time in {units}": lines})
    wide = cell.groupby([*named.values.T, columns], sort=False).first().unstack()
    wide = wide[columns.unique()].rename_axis([*named.columns])
    return report.table(wide.loc[wide.index.unique()].reset_index())


def ratio(found: pd.DataFrame, *names: str) -> float:
    """Return a ratio by what, backend, size, case and, if not usual, contenders."""
    columns = ("what", "backend", "size", "case", "subject", "other")
    wanted = dict(zip(columns, names if len(names) == 6 else (*names, OURS, BUILTIN)))
    its_rows = rows.find(found, **wanted).sort_values("cores")
    return float(its_rows["ratio"].iloc[-1])


def models(found: pd.DataFrame) -> str:
    """Return a page's section on whole training steps, if they have been measured."""
    found = rows.find(found, part="models")
    if found.empty:
        return ""
    fit = rows.find(found, what="fit", subject=OURS, other=BUILTIN)["ratio"]
    cores = " and ".join(sorted(set(found["cores"])))
    described = "; ".join(f"{name} ({about})" for name, about in MODELS.items())
    return (
        "\n## Whole training steps\n\n"
        "![The speed of training steps, as a multiple of that with keras.optimizers]"
        "(../benchmarks/results/steps/models.png)\n\n"
        "A step of `fit` computes the gradients, which takes as long with any "
        f"optimizer, and the update. On {cores} cores, it is with ours "
        f"{number(fit.min())}× to {number(fit.max())}× as fast, half of the rows at "
        f"least {number(fit.median())}×. Slower by more than 3 %: "
        f"{slower(found, 'models')}. The models: {described}.\n"
    )


def slower(found: pd.DataFrame, part: str) -> str:
    """Return a sentence on the rows in which ours are slower than the built-in."""
    found = rows.find(found, part=part, other=BUILTIN)
    found = found[found["subject"].str.startswith(OURS)]
    found = found[found["what"].isin(["train_on_batch", "fit", "update"])]
    said = []
    for backend, its_rows in found.groupby("backend", sort=False):
        slow = its_rows[its_rows["ratio"] < SLOWER]
        if len(slow):
            worst = slow.loc[slow["ratio"].idxmin()]
            said.append(
                f"{BACKENDS[str(backend)][0]}: {len(slow)} of {len(its_rows)} rows, at "
                f"worst {number(worst['ratio'])}× ({worst['size']}, {worst['case']})"
            )
    return "; ".join(said) or "none"
