"""The pages of the results: the table of all variants, and the verdict."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import report, rows, setting, suite
from benchmarks.precision import plots
from benchmarks.precision.lines import TOLERANCE, Line, Losses, lines
from benchmarks.precision.measure import EPOCHS, PARAMETERS, SECONDS, STEPS
from benchmarks.precision.variants import BUILTIN, TASKS, WITHOUT_CARRY
from benchmarks.setting import Setting

HOW = (
    "The whole model is in the dtype: weights, activations and gradients; the loss "
    "itself is computed in float32, as `keras.losses` do. All dtypes start from the "
    "same weights, rounded, and see the same batches in the same order. The learning "
    "rates were chosen in float32."
)
SHORTENED = (
    "**Shortened:** the losses are those of models in the middle of their training."
)


def publish(folder: Path) -> str:
    """Write the pages and the plots of the folder's rows, and return what to say."""
    found, here = rows.read(folder), setting.read(folder)[suite.RUN]
    measured = lines(found)
    plots.write(found, measured, folder)
    said = [table(found, here), verdict(measured), others(measured)]
    report.write(
        folder,
        title="Three dtypes: float32, bfloat16, float16",
        command="precision",
        table=said[0],
        plots=plots.NAMES,
        sections=[
            f"## Within 5 % of float32?\n\n{said[1]}",
            f"## The built-in Adam, and Adam without its carry\n\n{said[2]}",
            f"## Where and how\n\n{HOW}",
            _tasks(found),
            f"Seeds {', '.join(map(str, here['seeds']))}. {setting.in_words(here)}",
        ],
    )
    return "\n\n".join(said)


def table(found: pd.DataFrame, here: Setting) -> str:
    """Return the table of all tasks, with what it needs to be read."""
    legend = (
        "*Final loss*: over all training data after the last step, of the weights in a "
        "model of float32, so that only training differs: median (smallest … largest) "
        f"over {len(here['seeds'])} seeds; in (1000 $)² for Boston, in nats for the "
        "others. *From float32*: the median's distance from that of the same optimizer "
        f"in float32 (`{WITHOUT_CARRY}` from `Adam`); *by seed*: the smallest and the "
        f"largest of the seeds' distances. *Within {TOLERANCE:.0%}*: the verdict, on "
        "the medians, for what is promised; the other lines are there to be compared "
        "with. *Weights moved*: the share that training changed, in the seed where it "
        "is largest. No run has a loss scale."
    )
    full = {task.name: task.epochs for task in TASKS}
    epochs = rows.find(found, case=EPOCHS)
    short = any(epochs["value"] < epochs["part"].map(full))
    return "\n\n".join(
        [
            report.table([_cells(line) for line in lines(found)]),
            legend,
            *[SHORTENED] * short,
            *report.missing(here["missing"]),
        ]
    )


def _cells(line: Line) -> dict[str, str]:
    task, variant = line.task, line.variant
    near = {True: "yes", False: "**no**"}[line.is_near]
    return {
        "task": task.title,
        "optimizer": f"`{variant.optimizer}`",
        "dtype": variant.dtype,
        "η": f"{task.learning_rates[variant.learning_rate_of]:g}",
        "final loss": _spread(line.final),
        "from float32": _signed(line.from_float32) if line.is_compared else "",
        "by seed": _range(line.by_seed) if line.is_compared else "",
        f"within {TOLERANCE:.0%}": near if line.is_promised else "",
        "weights moved": f"{line.moved:.1%}" if line.moved else "none",
    }


def verdict(measured: Sequence[Line]) -> str:
    """Return whether 16 bits come near to float32 wherever they should."""
    judged = [line for line in measured if line.is_promised]
    missed = [
        f"{line.name} ({_signed(line.from_float32)})"
        for line in judged
        if not line.is_near
    ]
    answer = f"**No**, not in: {'; '.join(missed)}." if missed else "Yes."
    finite = [line.from_float32 for line in judged if np.isfinite(line.from_float32)]
    farthest = max(finite, key=abs, default=None)
    away = "" if farthest is None else f"; the farthest is {farthest:+.2%} away"
    changed = [
        line.name for line in judged if line.is_near_in_its_own_dtype != line.is_near
    ]
    own = f"another verdict in: {'; '.join(changed)}" if changed else "the same verdict"
    return (
        f"{answer} Of {len(judged)} combinations of a task, `Adam` or `Momentum`, and "
        f"bfloat16 or float16, {len(judged) - len(missed)} end with a loss whose "
        f"median over the seeds is at most {TOLERANCE:.0%} from float32's, above or "
        f"below{away}. Evaluated in its own dtype instead of float32, a model gets "
        f"{own}."
    )


def others(measured: Sequence[Line]) -> str:
    """Return what became of the variants of which nothing is promised."""
    return "\n".join(
        f"- `{line.variant.optimizer}` in {line.variant.dtype}, {line.task.title}: "
        f"{_fate(line)}."
        for line in measured
        if line.variant.optimizer in (BUILTIN, WITHOUT_CARRY) and line.is_narrow
    )


def _fate(line: Line) -> str:
    if line.moved == 0:
        return f"did not move: no weight of any seed changed; loss {line.median:.4f}"
    if broken := np.count_nonzero(~np.isfinite(line.final)):
        return f"the loss of {broken} of {len(line.final)} seeds is not finite"
    distance = f", {_signed(line.from_float32)}" if line.is_compared else ""
    return f"loss {line.median:.4f}{distance}"


def _tasks(found: pd.DataFrame) -> str:
    def figure(task: str, case: str) -> str:
        return f"{rows.median(found, part=task, case=case):,.0f}"

    return report.table(
        [
            {
                "task": task.title,
                **{case: figure(task.name, case) for case in (PARAMETERS, EPOCHS)},
                "steps": figure(task.name, STEPS),
                "seconds, all runs": figure(task.name, SECONDS),
            }
            for task in TASKS
            if task.name in set(found["part"])
        ]
    )


def _spread(losses: Losses) -> str:
    if broken := np.count_nonzero(~np.isfinite(losses)):
        return f"not finite in {broken} of {len(losses)} seeds"
    return f"{np.median(losses):.4f} ({min(losses):.4f} … {max(losses):.4f})"


def _range(distances: Losses) -> str:
    finite = [each for each in distances if np.isfinite(each)]
    return f"{_signed(min(finite))} … {_signed(max(finite))}" if finite else ""


def _signed(distance: float) -> str:
    return f"{distance:+.2%}" if np.isfinite(distance) else "not finite"
