"""The pages of the results: the chapter's table, the verdict, and the collapse."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from benchmarks import report, rows, setting, suite
from benchmarks.boston import data, plots, same_path
from benchmarks.boston.experiments import EXPERIMENTS, SWEEP, Experiment
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
from benchmarks.rows import find
from benchmarks.setting import Setting

CHAPTER = (
    "The chapter's figures are the smallest test loss along one run, one unnamed seed, "
    "as printed in the chapter (TensorFlow 2.1). Its seed, its initial weights and the "
    "order of its batches are not known, and nothing here was tuned to come near them: "
    "the weights are those of Keras's default initializers under the seeds named "
    "below, and the inputs are not standardised, so that a run hangs on how many of "
    "the four units its first steps kill."
)
SHORTENED = (
    "**Shortened:** fewer epochs than the chapter's, whose figures are out of reach."
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
            f"## The chapter's figures and these\n\n{CHAPTER}",
            chapter(found),
            "## Where and how",
            f"Seeds {', '.join(map(str, here['seeds']))}. {setting.in_words(here)}",
        ],
    )
    return "\n\n".join([shown, left, f"The same path? {answer}"])


def table(found: pd.DataFrame, here: Setting) -> str:
    """Return the table of all experiments, with what it needs to be read."""
    measured = _measured(found, EXPERIMENTS)
    legend = (
        "Smallest of the test losses after each epoch of a run, in (1000 $)²: median "
        f"(smallest … largest) over {len(here['seeds'])} seeds; the chapter's is one "
        "run with one unnamed seed. *Apart*: the largest relative difference, over "
        "steps and seeds, between the training loss of ours and of the built-in. "
        "*Built-in one ulp away*: the same between the built-in and itself started "
        "with each kernel weight (for Adam β₂ too) moved up to the next float32. "
        "In float32 rounding grows until paths part, and how soon depends on the "
        "machine: this is no verdict."
    )
    short = any(_epochs(found, each) < each.epochs for each in measured)
    return "\n\n".join(
        [
            report.table([_line(found, experiment) for experiment in measured]),
            legend,
            *[SHORTENED] * short,
            *report.missing(here["missing"]),
        ]
    )


def _line(found: pd.DataFrame, experiment: Experiment) -> dict[str, str]:
    def apart(subject: str) -> str:
        return difference(by_seed(found, experiment, APART, subject).max())

    return {
        "experiment": f"{experiment.title}, {_epochs(found, experiment):,} epochs",
        "chapter": f"{experiment.chapter:.3f}",
        **{
            subject: spread(by_seed(found, experiment, SMALLEST, subject))
            for subject in (OURS, BUILTIN)
        },
        "apart": apart(OURS),
        ONE_ULP_AWAY: apart(ONE_ULP_AWAY),
    }


def is_any_apart(found: pd.DataFrame) -> bool:
    """Return whether ours has left the built-in's path in float64."""
    return any(map(same_path.is_apart, find(found, part=SAME_PATH)["value"]))


def verdict(found: pd.DataFrame) -> str:
    """Return whether ours and the built-in take the same path in float64."""
    pairs = find(found, part=SAME_PATH)
    apart = pairs[[same_path.is_apart(value) for value in pairs["value"]]]
    answer = f"**No**, not in: {'; '.join(apart['case'])}." if len(apart) else "Yes."
    return (
        f"{answer} In float64, with hyperparameters that float32 holds, the training "
        f"losses of ours and of the built-in over {same_path.STEPS} steps differ by at "
        f"most {difference(pairs['value'].max())} of their size; the limit is "
        f"{same_path.LIMIT:g}."
    )


def same_path_table(found: pd.DataFrame) -> str:
    pairs = find(found, part=SAME_PATH)
    return report.table(
        [
            {
                f"float64, {same_path.STEPS} steps": title,
                "ours from the built-in": difference(value),
            }
            for title, value in zip(pairs["case"], pairs["value"], strict=True)
        ]
    )


def collapse(found: pd.DataFrame) -> str:
    """Return what is left of the models whose units all died in the sweep."""
    collapsed = [
        (experiment, seeds)
        for experiment in _measured(found, SWEEP)
        if (seeds := _collapsed(found, experiment))
    ]
    if not collapsed:
        return "In no run of the sweep did all units die."
    targets = data.shipped()
    mean, of_test = targets.y_train.mean(), targets.y_test.mean()

    def loss_of(constant: float) -> float:
        return targets.y_test.var() + (constant - of_test) ** 2

    descents = [
        f"{loss_of(mean * (1 - (1 - 2 * each.learning_rate) ** each.epochs)):.3f} at "
        f"η = {_rate(each)} (the chapter's run: {each.chapter:.3f})"
        for each, _ in collapsed
    ]
    figures = {"last bias": BIAS, "smallest test loss": SMALLEST}
    lines = [
        {"η": _rate(experiment), "seed": seed.removeprefix("seed ")}
        | {
            title: f"{by_seed(found, experiment, case, OURS)[seed]:.6g}"
            for title, case in figures.items()
        }
        for experiment, seeds in collapsed
        for seed in seeds
    ]
    return (
        "This is not training. The first steps throw the weights so far that the "
        "units' inputs are negative on every training row; a ReLU unit is then 0, its "
        "gradient is 0, and it is dead. The model is its last bias, and gradient "
        f"descent takes that towards the mean of the training targets, {mean:.4f}, "
        f"where the test loss is {loss_of(mean):.4f}. No constant has a test loss "
        f"below the variance of the test targets, {targets.y_test.var():.4f}; a bias "
        "that comes down from above touches it on its way through their mean, "
        f"{of_test:.4f}. A constant that starts at 0 reaches in the chapter's epochs a "
        f"test loss of {', '.join(descents)}.\n\n{report.table(lines)}"
    )


def chapter(found: pd.DataFrame) -> str:
    """Return which of the chapter's figures ours do not reach, and which died."""
    measured = _measured(found, EXPERIMENTS)
    outside, died = [], []
    for each in measured:
        losses = by_seed(found, each, SMALLEST, OURS)
        if not losses.min() <= each.chapter <= losses.max():
            outside.append(f"{each.title} ({each.chapter:.3f})")
        if dead := _collapsed(found, each):
            died.append(f"{each.title} ({len(dead)} of {len(losses)} seeds)")
    return (
        f"Outside the range of ours: {'; '.join(outside) or 'none'}.\n\n"
        f"Runs of ours that lost all {HIDDEN_UNITS} units, and so ended as a constant: "
        f"{'; '.join(died) or 'none'}."
    )


def by_seed(
    found: pd.DataFrame, experiment: Experiment, case: str, subject: str
) -> pd.Series:
    """Return a figure by seed."""
    of_case = find(found, part=experiment.name, case=case, subject=subject)
    return of_case.set_index("size")["value"]


def _measured(
    found: pd.DataFrame, experiments: Iterable[Experiment]
) -> list[Experiment]:
    return [each for each in experiments if each.name in set(found["part"])]


def _epochs(found: pd.DataFrame, experiment: Experiment) -> int:
    return int(rows.median(found, part=experiment.name, case=EPOCHS))


def _collapsed(found: pd.DataFrame, experiment: Experiment) -> list[str]:
    """Return the seeds in which nothing is left of ours but its last bias."""
    dead = by_seed(found, experiment, DEAD, OURS)
    return list(dead.index[dead == HIDDEN_UNITS])


def spread(losses: pd.Series) -> str:
    return f"{losses.median():.3f} ({losses.min():.3f} … {losses.max():.3f})"


def difference(value: float) -> str:
    return f"{value:.1e}" if value else "0"


def _rate(experiment: Experiment) -> str:
    return f"{experiment.learning_rate:.0e}".replace("e-0", "e-")
