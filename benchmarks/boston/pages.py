"""The pages of the results: the chapter's table, the verdict, and the collapse."""

from pathlib import Path

import pandas as pd

from benchmarks import report, rows, setting, suite
from benchmarks.boston import plots, same_path
from benchmarks.boston.data import shipped
from benchmarks.boston.experiments import EXPERIMENTS, Experiment
from benchmarks.boston.measure import (
    APART,
    BIAS,
    DEAD,
    EPOCHS,
    ONE_ULP_AWAY,
    SAME_PATH,
    SMALLEST,
)
from benchmarks.boston.train import HIDDEN_UNITS
from benchmarks.figures import BUILTIN, OURS
from benchmarks.setting import Setting

LEGEND = (
    "Smallest of the test losses after each epoch of a run, in (1000 $)²: median "
    "(smallest … largest) over {seeds} seeds; the chapter's is one run with one "
    "unnamed seed. *Apart*: the largest relative difference, over steps and seeds, "
    "between the training loss of ours and of the built-in. *Built-in one ulp away*: "
    "the same between the built-in and itself started with each kernel weight (for "
    "Adam β₂ too) moved up to the next float32. In float32 rounding grows until paths "
    "part, and how soon depends on the machine: this is no verdict."
)
CHAPTER = (
    "The chapter (TensorFlow 2.1) names neither the seed, the initial weights nor the "
    "order of its batches, and nothing here was tuned to come near its figures. The "
    "inputs are not standardised, so that a run hangs on how many of the four units "
    "its first steps kill."
)
COLLAPSE = (
    "In these runs of ours a step threw the weights so far that all units were 0 on "
    "every training row, and so were their gradients: they stay dead. What is left of "
    "the model is its last bias, and gradient descent takes that towards the mean of "
    "the training targets, {mean:.4f}. No constant has a test loss below "
    "{variance:.4f}, the variance of the test targets; a bias that comes down from "
    "above touches it on its way."
)


def publish(folder: Path) -> str:
    """Write the pages and the plots of the folder's rows, and return what to say."""
    found, here = rows.read(folder), setting.read(folder)[suite.RUN]
    drawn = plots.write(found, folder)
    shown, answer, left = table(found, here), verdict(found), collapse(found)
    report.write(
        folder,
        title="Boston housing: the chapter's experiments",
        command="boston",
        table=shown,
        plots=drawn,
        sections=[
            f"## The same path?\n\n{answer}",
            same_path_table(found),
            f"## The collapse\n\n{left}",
            f"## The chapter's figures and these\n\n{CHAPTER} {outside(found)}",
            "## Where and how",
            f"Seeds {', '.join(map(str, here['seeds']))}. {setting.in_words(here)}",
        ],
    )
    return "\n\n".join([shown, left, f"The same path? {answer}"])


def figures(found: pd.DataFrame, subject: str = OURS) -> pd.DataFrame:
    """Return a line for each experiment and seed, a column for each figure."""
    of_seeds = found["size"].str.startswith("seed")
    its_rows = found[of_seeds & (found["subject"] == subject)]
    wide = its_rows.pivot(index=["part", "size"], columns="case", values="value")
    wide = wide.reindex(columns=[BIAS, SMALLEST, DEAD, APART])
    return wide.reindex([each.name for each in EXPERIMENTS], level="part")


def _measured(found: pd.DataFrame) -> list[Experiment]:
    return [each for each in EXPERIMENTS if each.name in set(found["part"])]


def table(found: pd.DataFrame, here: Setting) -> str:
    """Return the table of all experiments, with what it needs to be read."""
    subjects = OURS, BUILTIN, ONE_ULP_AWAY
    ours, builtin, away = (figures(found, subject) for subject in subjects)
    epochs = rows.find(found, case=EPOCHS).set_index("part")["value"]
    lines = [
        {
            "experiment": f"{each.title}, {epochs[each.name]:,.0f} epochs",
            "chapter": f"{each.chapter:.3f}",
            OURS: report.spread(ours.loc[each.name][SMALLEST], 3),
            BUILTIN: report.spread(builtin.loc[each.name][SMALLEST], 3),
            "apart": difference(ours.loc[each.name][APART].max()),
            ONE_ULP_AWAY: difference(away.loc[each.name][APART].max()),
        }
        for each in _measured(found)
    ]
    legend = LEGEND.format(seeds=len(here["seeds"]))
    notes = report.notes(here)
    return "\n\n".join([report.table(lines), legend, *notes])


def difference(value: float) -> str:
    return f"{value:.1e}" if value else "0"


def apart(found: pd.DataFrame) -> list[str]:
    """Return the pairs in which ours has left the built-in's path in float64."""
    pairs = rows.find(found, part=SAME_PATH)
    return pairs["case"][same_path.is_apart(pairs["value"])].tolist()


def verdict(found: pd.DataFrame) -> str:
    """Return whether ours and the built-in take the same path in float64."""
    left = "; ".join(apart(found))
    largest = rows.find(found, part=SAME_PATH)["value"].max()
    return (
        f"{f'**No**, not in: {left}.' if left else 'Yes.'} In float64, with "
        "hyperparameters that float32 holds, the training losses of ours and of the "
        f"built-in over {same_path.STEPS} steps differ by at most "
        f"{difference(largest)} of their size; the limit is {same_path.LIMIT:g}."
    )


def same_path_table(found: pd.DataFrame) -> str:
    pairs = rows.find(found, part=SAME_PATH)
    columns = {
        f"float64, {same_path.STEPS} steps": pairs["case"],
        "ours from the built-in": pairs["value"].map(difference),
    }
    return report.table(columns)


def collapse(found: pd.DataFrame) -> str:
    """Return what is left of the models whose units are all dead at the end."""
    ours = figures(found)
    dead = ours[ours[DEAD] == HIDDEN_UNITS][[BIAS, SMALLEST]].map("{:.6g}".format)
    if dead.empty:
        return "In no run did all units die."
    titles = {each.name: each.title for each in EXPERIMENTS}
    named = dead.rename(index=titles).rename_axis(["experiment", "seed"])
    mean, variance = shipped().y_train.mean(), shipped().y_test.var()
    why = COLLAPSE.format(mean=mean, variance=variance)
    return f"{why}\n\n{report.table(named.reset_index())}"


def outside(found: pd.DataFrame) -> str:
    """Return which of the chapter's figures ours do not reach."""
    losses = figures(found)[SMALLEST].groupby("part").agg(["min", "max"])
    missed = [
        f"{each.title} ({each.chapter:.3f})"
        for each in _measured(found)
        if not losses["min"][each.name] <= each.chapter <= losses["max"][each.name]
    ]
    return f"Outside the range of ours: {'; '.join(missed) or 'none'}."
