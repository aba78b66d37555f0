"""The report of the results: the chapter's table beside ours, and the same path."""

from pathlib import Path

import pandas as pd

from benchmarks import report, rows
from benchmarks.boston import experiments as cases
from benchmarks.boston import pictures
from benchmarks.boston.experiments import EXPERIMENTS, LIMIT, Experiment
from benchmarks.figures import BUILTIN, OURS

LEGEND = (
    "The smallest test loss of a run in (1000 $)²: the median over the seeds, with the "
    "smallest and the largest. The chapter prints one run with an unnamed seed. Full "
    "batches are trained for 10,000 epochs, with η = 1e-3 and a clip by norm in the "
    "last line; mini-batches of 32 for 2,000, the others for 1,000, with η = 1e-3."
)
CHAPTER = (
    "The chapter (TensorFlow 2.1) names neither the seed, the initial weights nor the "
    "order of its batches, and nothing here was tuned to approach its figures. In "
    "float32, ours and the built-in round in different places, and training amplifies "
    "the difference."
)


def publish(folder: Path) -> str:
    """Write the report and the pictures, and return the text to print."""
    found = rows.read(folder)
    measured = [each for each in EXPERIMENTS if each.name in set(found["part"])]
    lines = pd.DataFrame([_line(found, each) for each in measured])
    return report.write(
        folder,
        title="Boston housing: the chapter's experiments",
        command="boston",
        table=f"{report.table(lines)}\n\n{LEGEND}",
        printed=f"{report.table(lines, 'simple')}\n\n{verdict(found)}",
        pictures=pictures.write(found, folder),
        sections=[CHAPTER, f"## The same path\n\n{verdict(found)}"],
    )


def _line(found: pd.DataFrame, experiment: Experiment) -> dict[str, str]:
    its_rows = rows.find(found, part=experiment.name)
    losses = rows.find(its_rows, case=cases.SMALLEST).set_index("subject")
    return {
        "experiment": experiment.title,
        "chapter": f"{experiment.chapter:.1f}",
        OURS: report.spread(losses.loc[OURS]),
        BUILTIN: report.spread(losses.loc[BUILTIN]),
    }


def verdict(found: pd.DataFrame) -> str:
    """Return whether ours and the built-in take the same path in float64."""
    pairs = rows.find(found, part=cases.SAME_PATH)
    largest = pairs["value"].max()
    left = "; ".join(pairs["case"][~(pairs["value"] < LIMIT)])
    named = f"**Not** in: {left}. " if left else ""
    return (
        f"{named}In float64, the training losses of ours and of the built-in over\n"
        f"300 steps differ by at most {largest:.1e} of their size (limit {LIMIT:g})."
    )
