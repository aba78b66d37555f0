"""The results as Markdown and as JSON, written from the same figures."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import markdown
from benchmarks.precision.summary import (
    TOLERANCE,
    Comparison,
    TaskSummary,
    VariantSummary,
)
from benchmarks.precision.variants import BUILTIN, NARROW, WITHOUT_CARRY

TABLE = "table.md"
REPORT = "README.md"
JSON = "results.json"

Row = dict[str, str]


@dataclass(frozen=True)
class Results:
    """Everything that is written about one run of the benchmark but its plots."""

    versions: dict[str, str]
    machine: dict[str, str | int | float]
    seeds: tuple[int, ...]
    shortening: int
    seconds: float
    tolerance: float
    tasks: tuple[TaskSummary, ...]
    missing: tuple[str, ...]


def write(results: Results, plots: Iterable[str], folder: Path) -> None:
    """Write the table, the report around it, and the JSON file into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TABLE).write_text(table(results), encoding="utf-8")
    (folder / REPORT).write_text(report(results, plots), encoding="utf-8")
    (folder / JSON).write_text(_json(results), encoding="utf-8")


def table(results: Results) -> str:
    """Return the table of all tasks, with what it needs to be read."""
    rows = [_row(task, line) for task in results.tasks for line in task.variants]
    notes = [_legend(results), *_shortened(results), *markdown.missing(results.missing)]
    return "\n\n".join([markdown.table(rows), *notes]) + "\n"


def report(results: Results, plots: Iterable[str]) -> str:
    """Return the table among the verdict, the setting and the plots."""
    sections = [
        "# Three dtypes: float32, bfloat16, float16",
        "Written by `python -m benchmarks precision`.",
        table(results).strip(),
        "## Within 5 % of float32?",
        verdict(results.tasks),
        "## The built-in Adam, and Adam without its carry",
        others(results.tasks),
        "## Where and how",
        _tasks(results.tasks),
        _setting(results),
        *(f"![{Path(plot).stem}]({plot})" for plot in plots),
    ]
    return "\n\n".join(sections) + "\n"


def printed(results: Results) -> str:
    """Return what the command prints when it ends."""
    sections = table(results).strip(), verdict(results.tasks), others(results.tasks)
    return "\n\n".join(sections)


def verdict(tasks: Sequence[TaskSummary]) -> str:
    """Return whether 16 bits come near to float32 wherever they should."""
    lines = [(t, v) for t in tasks for v in t.variants if v.kept is not None]
    missed = [
        f"{task.title}, {line.optimizer} in {line.dtype} "
        f"({_percent(line.from_float32)})"
        for task, line in lines
        if not line.kept
    ]
    answer = f"**No**, not in: {'; '.join(missed)}." if missed else "Yes."
    return (
        f"{answer} Of {len(lines)} combinations of a task, `Adam` or `Momentum`, and "
        f"bfloat16 or float16, {len(lines) - len(missed)} end with a loss whose median "
        f"over the seeds is at most {TOLERANCE:.0%} from float32's, above or below"
        f"{_farthest(line for _, line in lines)}. {_evaluated_narrow(lines)}"
    )


def others(tasks: Sequence[TaskSummary]) -> str:
    """Return what became of the variants of which nothing is promised."""
    return "\n".join(
        f"- `{line.optimizer}` in {line.dtype}, {task.title}: {_fate(line)}."
        for task in tasks
        for line in task.variants
        if line.optimizer in (BUILTIN, WITHOUT_CARRY) and line.dtype in NARROW
    )


def one_line(task: TaskSummary, line: VariantSummary) -> str:
    """Return a variant's figures for a log."""
    distance = f", {_percent(line.from_float32)}" if line.from_float32 else ""
    return (
        f"{task.title}: {line.optimizer} in {line.dtype} {_loss(line.median)}{distance}"
    )


def _fate(line: VariantSummary) -> str:
    if line.largest_moved == 0:
        return f"did not move: no weight of any seed changed; loss {_loss(line.median)}"
    broken = sum(not math.isfinite(loss) for loss in line.final_losses)
    if broken:
        return f"the loss of {broken} of {len(line.final_losses)} seeds is not finite"
    distance = f", {_percent(line.from_float32)}" if line.from_float32 else ""
    return f"loss {_loss(line.median)}{distance}"


def _row(task: TaskSummary, line: VariantSummary) -> Row:
    return {
        "task": task.title,
        "optimizer": f"`{line.optimizer}`",
        "dtype": line.dtype,
        "η": f"{line.learning_rate:g}",
        "final loss": _spread(line.final_losses),
        "from float32": _percent(line.from_float32),
        "by seed": _range(line.from_float32),
        f"within {TOLERANCE:.0%}": {None: "", True: "yes", False: "**no**"}[line.kept],
        "weights moved": _moved(line),
    }


def _legend(results: Results) -> str:
    return (
        "*Final loss*: over all training data after the last step, of the weights in a "
        "model of float32, so that only training differs: median (smallest … largest) "
        f"over {len(results.seeds)} seeds; in (1000 $)² for Boston, in nats for the "
        "others. *From float32*: the median's distance from that of the same optimizer "
        f"in float32 (`{WITHOUT_CARRY}` from `Adam`); *by seed*: the smallest and the "
        "largest of the seeds' distances. "
        f"*Within {TOLERANCE:.0%}*: the verdict, on the medians, for what is promised; "
        "the other lines are there to be compared with. *Weights moved*: the share "
        "that training changed, in the seed where it is largest. No run has a loss "
        "scale."
    )


def _evaluated_narrow(lines: Sequence[tuple[TaskSummary, VariantSummary]]) -> str:
    changed = [
        f"{task.title}, {line.optimizer} in {line.dtype}"
        for task, line in lines
        if line.own_from_float32 and line.own_from_float32.is_near != line.kept
    ]
    if not changed:
        return (
            "Evaluated in their own dtype instead of float32, the models get the same "
            "verdicts."
        )
    return (
        "Evaluated in its own dtype instead of float32, a model gets another verdict "
        f"in: {'; '.join(changed)}."
    )


def _farthest(lines: Iterable[VariantSummary]) -> str:
    distances = [line.from_float32.of_medians for line in lines if line.from_float32]
    finite = [d for d in distances if math.isfinite(d)]
    return f"; the farthest is {max(finite, key=abs):+.2%} away" if finite else ""


def _shortened(results: Results) -> list[str]:
    if results.shortening == 1:
        return []
    return [
        f"**Shortened:** one epoch for every {results.shortening}, so that the losses "
        "are those of models in the middle of their training."
    ]


def _tasks(tasks: Sequence[TaskSummary]) -> str:
    rows = [
        {
            "task": task.title,
            "parameters": f"{task.parameters:,}",
            "epochs": str(task.epochs),
            "steps": f"{task.steps:,}",
            "seconds, all runs": f"{task.seconds:.0f}",
        }
        for task in tasks
    ]
    return (
        "The whole model is in the dtype: weights, activations and gradients; the loss "
        "itself is computed in float32, as `keras.losses` do. All dtypes start from "
        "the same weights, rounded, and see the same batches in the same order. The "
        "learning rates were chosen in float32.\n\n" + markdown.table(rows)
    )


def _setting(results: Results) -> str:
    machine, versions = results.machine, results.versions
    return (
        f"{machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['system']}; Python "
        f"{versions['python']}, TensorFlow {versions['tensorflow']}, Keras "
        f"{versions['keras']}, NumPy {versions['numpy']}. Seeds "
        f"{', '.join(map(str, results.seeds))}; {results.seconds:.0f} s in all, "
        "imports not counted."
    )


def _spread(losses: Sequence[float]) -> str:
    if not all(map(math.isfinite, losses)):
        broken = sum(not math.isfinite(loss) for loss in losses)
        return f"not finite in {broken} of {len(losses)} seeds"
    middle = sorted(losses)
    median = (middle[(len(middle) - 1) // 2] + middle[len(middle) // 2]) / 2
    return f"{_loss(median)} ({_loss(middle[0])} … {_loss(middle[-1])})"


def _percent(comparison: Comparison | None) -> str:
    return _signed(comparison.of_medians) if comparison else ""


def _range(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    finite = [d for d in comparison.by_seed if math.isfinite(d)]
    return f"{_signed(min(finite))} … {_signed(max(finite))}" if finite else ""


def _moved(line: VariantSummary) -> str:
    return "none" if line.largest_moved == 0 else f"{line.largest_moved:.1%}"


def _signed(difference: float) -> str:
    return f"{difference:+.2%}" if math.isfinite(difference) else "not finite"


def _loss(loss: float) -> str:
    return f"{loss:.4f}" if math.isfinite(loss) else "not finite"


def _json(results: Results) -> str:
    content = _without_nan(asdict(results))
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _without_nan(value):
    """Return the value with `None` for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
