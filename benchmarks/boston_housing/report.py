"""The results as Markdown and as JSON, written from the same figures."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import markdown
from benchmarks.boston_housing.compare import FIRST_STEPS
from benchmarks.boston_housing.experiments import CHAPTER, SWEEP
from benchmarks.boston_housing.same_path import LIMIT, STEPS, PathDifference
from benchmarks.boston_housing.summary import (
    Difference,
    ExperimentSummary,
    RunSummary,
    SeedSummary,
    Spread,
    Targets,
)
from benchmarks.boston_housing.train import HIDDEN_UNITS

TABLE = "table.md"
REPORT = "README.md"
JSON = "results.json"

Row = dict[str, str]


@dataclass(frozen=True)
class Results:
    """Everything that is written about one run of the benchmark but its plots."""

    versions: dict[str, str]
    machine: dict[str, str | int | float]
    data: str
    seeds: tuple[int, ...]
    shortening: int
    seconds: float
    targets: Targets
    same_path: tuple[PathDifference, ...]
    experiments: tuple[ExperimentSummary, ...]
    missing: tuple[str, ...]


def write(results: Results, plots: Iterable[str], folder: Path) -> None:
    """Write the table, the report around it, and the JSON file into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TABLE).write_text(table(results), encoding="utf-8")
    (folder / REPORT).write_text(report(results, plots), encoding="utf-8")
    content = json.dumps(asdict(results), indent=1, ensure_ascii=False)
    (folder / JSON).write_text(content + "\n", encoding="utf-8")


def table(results: Results) -> str:
    """Return the table of all experiments, with what it needs to be read."""
    rows = [_table_row(experiment) for experiment in results.experiments]
    notes = [_legend(results), *_shortened(results), *markdown.missing(results.missing)]
    return "\n\n".join([markdown.table(rows), *notes]) + "\n"


def report(results: Results, plots: Iterable[str]) -> str:
    """Return the table among the setting, the notes and the plots."""
    sections = [
        "# Boston housing: the chapter's experiments",
        "Written by `python -m benchmarks boston-housing`.",
        table(results).strip(),
        "## The same path?",
        verdict(results.same_path),
        markdown.table([_same_path_row(pair) for pair in results.same_path]),
        "## How far apart in float32",
        float32_spread(results.experiments),
        markdown.table([_difference_row(each) for each in results.experiments]),
        "## The collapse",
        collapse(results),
        "## The chapter's figures and these",
        _chapter(results.experiments),
        "## Where and how",
        _setting(results),
        *(f"![{Path(plot).stem}]({plot})" for plot in plots),
    ]
    return "\n\n".join(sections) + "\n"


def printed(results: Results) -> str:
    """Return what the command prints when it ends."""
    same_path = f"The same path? {verdict(results.same_path)}"
    return "\n\n".join([table(results).strip(), collapse(results), same_path])


def verdict(pairs: Sequence[PathDifference]) -> str:
    """Return whether ours and the built-in take the same path in float64."""
    apart = [pair.title for pair in pairs if pair.apart]
    answer = f"**No**, not in: {'; '.join(apart)}." if apart else "Yes."
    return (
        f"{answer} In float64, with hyperparameters that float32 holds, the training "
        f"losses of ours and of the built-in over {STEPS} steps differ by at most "
        f"{_difference(max(pair.difference for pair in pairs))} of their size; the "
        f"limit is {LIMIT:g}."
    )


def float32_spread(experiments: Sequence[ExperimentSummary]) -> str:
    """Return how far rounding takes ours and the built-in apart in float32."""
    ours = max(each.ours_from_builtin.first_100_steps for each in experiments)
    rounding = max(
        each.builtin_one_ulp_away_from_builtin.first_100_steps for each in experiments
    )
    return (
        f"Over the first {FIRST_STEPS} steps the training losses of ours and of the "
        f"built-in differ by at most {_difference(ours)} of their size, and those of "
        f"the built-in one ulp away and of the built-in by at most "
        f"{_difference(rounding)}. After that rounding grows and the paths may part, "
        "as the built-in's parts from its own when it starts one ulp away. How soon "
        "depends on the machine, so this is no verdict and has no limit."
    )


def collapse(results: Results) -> str:
    """Return what is left of the models whose units all died in the sweep."""
    experiments = _sweep(results.experiments)
    rows = [
        _collapse_row(experiment, seed)
        for experiment in experiments
        for seed in experiment.seeds
        if seed.ours.collapsed or seed.builtin.collapsed
    ]
    if not rows:
        return "In no run of the sweep did all units die."
    known = results.targets
    chapters = [
        f"{_loss(known.loss_of_descent(each.learning_rate, epochs))} at "
        f"η = {_rate(each)} (the chapter's run: {_loss(each.chapter)})"
        for each in experiments
        if _collapsed_seeds(each) and (epochs := each.epochs * results.shortening)
    ]
    return (
        "This is not training. The first steps throw the weights so far that the "
        "units' inputs are negative on every training row; a ReLU unit is then 0, its "
        "gradient is 0, and it is dead. The model is its last bias, and gradient "
        "descent takes that towards the mean of the training targets, "
        f"{known.training_mean:.4f}, where the test loss is "
        f"{known.loss_of(known.training_mean):.4f}. No constant has a test loss below "
        f"the variance of the test targets, {known.test_variance:.4f}; a bias that "
        "comes down from above touches it on its way through their mean, "
        f"{known.test_mean:.4f}. A constant that starts at 0 reaches in the chapter's "
        f"epochs a test loss of {', '.join(chapters)}.\n\n" + markdown.table(rows)
    )


def one_line(experiment: ExperimentSummary) -> str:
    """Return the experiment's figures for a log."""
    return (
        f"{experiment.title}: ours {_spread(experiment.ours)}, "
        f"built-in {_spread(experiment.builtin)}, chapter {_loss(experiment.chapter)}"
    )


def _table_row(experiment: ExperimentSummary) -> Row:
    ours = experiment.ours_from_builtin
    one_ulp_away = experiment.builtin_one_ulp_away_from_builtin
    return {
        "experiment": f"{experiment.title}, {experiment.epochs:,} epochs",
        "chapter": _loss(experiment.chapter),
        "ours": _spread(experiment.ours),
        "built-in": _spread(experiment.builtin),
        f"apart, first {FIRST_STEPS} steps": _difference(ours.first_100_steps),
        "apart, whole run": _difference(ours.whole_run),
        "built-in one ulp away": _difference(one_ulp_away.whole_run),
    }


def _legend(results: Results) -> str:
    return (
        "Smallest of the test losses after each epoch of a run, in (1000 $)²: median "
        f"(smallest … largest) over {len(results.seeds)} seeds; the chapter's is one "
        "run with one unnamed seed. *Apart*: the largest relative difference, over "
        "steps and seeds, between the training loss of ours and of the built-in. "
        "*Built-in one ulp away*: the same over the whole run, between the built-in "
        "and itself started with each kernel weight (for Adam β₂ too) moved up to the "
        "next float32."
    )


def _shortened(results: Results) -> list[str]:
    if results.shortening == 1:
        return []
    return [
        f"**Shortened:** one epoch for every {results.shortening} of the chapter's, so "
        "the chapter's figures are out of reach."
    ]


def _same_path_row(pair: PathDifference) -> Row:
    return {
        f"float64, {STEPS} steps": pair.title,
        "ours from the built-in": _difference(pair.difference),
    }


def _difference_row(experiment: ExperimentSummary) -> Row:
    def whole_runs(differences: Iterable[Difference]) -> str:
        return ", ".join(_difference(each.whole_run) for each in differences)

    seeds = experiment.seeds
    return {
        "apart over the whole run": experiment.title,
        "ours from the built-in, by seed": whole_runs(
            seed.ours_from_builtin for seed in seeds
        ),
        "built-in one ulp away, by seed": whole_runs(
            seed.builtin_one_ulp_away_from_builtin for seed in seeds
        ),
    }


def _sweep(experiments: Iterable[ExperimentSummary]) -> list[ExperimentSummary]:
    names = {experiment.name for experiment in SWEEP}
    return [experiment for experiment in experiments if experiment.name in names]


def _collapse_row(experiment: ExperimentSummary, seed: SeedSummary) -> Row:
    def both(figure: str, ours: RunSummary, builtin: RunSummary) -> str:
        return " / ".join(f"{getattr(run, figure):.6g}" for run in (ours, builtin))

    return {
        "η": _rate(experiment),
        "seed": str(seed.seed),
        **{
            f"{title}, ours / built-in": both(figure, seed.ours, seed.builtin)
            for title, figure in (
                (f"dead units of {HIDDEN_UNITS}", "dead_units"),
                ("last bias", "last_bias"),
                ("smallest test loss", "smallest_test_loss"),
            )
        },
    }


def _chapter(experiments: Sequence[ExperimentSummary]) -> str:
    outside = [
        f"{experiment.title} ({_loss(experiment.chapter)})"
        for experiment in experiments
        if not _within(experiment.chapter, experiment.ours)
    ]
    return "\n\n".join(
        [
            f"The chapter's figures are {CHAPTER}. Its seed, its initial weights and "
            "the order of its batches are not known, and nothing here was tuned to "
            "come near them: the weights are those of Keras's default initializers "
            "under the seeds named below, and the inputs are not standardised, so that "
            "a run hangs on how many of the four units its first steps kill.",
            f"Outside the range of ours: {'; '.join(outside) or 'none'}.",
            f"Runs of ours that lost all {HIDDEN_UNITS} units, and so ended as a "
            f"constant: {_collapsed_runs(experiments) or 'none'}.",
        ]
    )


def _within(figure: float, spread: Spread) -> bool:
    return spread.smallest <= figure <= spread.largest


def _collapsed_runs(experiments: Iterable[ExperimentSummary]) -> str:
    return "; ".join(
        f"{each.title} ({_collapsed_seeds(each)} of {len(each.seeds)} seeds)"
        for each in experiments
        if _collapsed_seeds(each)
    )


def _collapsed_seeds(experiment: ExperimentSummary) -> int:
    return sum(seed.ours.collapsed for seed in experiment.seeds)


def _setting(results: Results) -> str:
    machine, versions = results.machine, results.versions
    return (
        f"{machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['system']}; Python "
        f"{versions['python']}, TensorFlow {versions['tensorflow']}, Keras "
        f"{versions['keras']}, NumPy {versions['numpy']}. Seeds "
        f"{', '.join(map(str, results.seeds))}; data: {results.data}; "
        f"{results.seconds:.0f} s in all, imports not counted."
    )


def _spread(spread: Spread) -> str:
    median, smallest, largest = map(
        _loss, (spread.median, spread.smallest, spread.largest)
    )
    return f"{median} ({smallest} … {largest})"


def _rate(experiment: ExperimentSummary) -> str:
    return f"{experiment.learning_rate:.0e}".replace("e-0", "e-")


def _loss(loss: float) -> str:
    return f"{loss:.3f}"


def _difference(difference: float) -> str:
    return f"{difference:.1e}" if difference else "0"
