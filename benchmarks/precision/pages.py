"""The pages of the results: the table of all variants, and the verdict."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import report, rows, setting, suite
from benchmarks.precision import plots
from benchmarks.precision.lines import TOLERANCE, lines
from benchmarks.precision.measure import EPOCHS, PARAMETERS, SECONDS, STEPS
from benchmarks.precision.tasks import TASKS
from benchmarks.precision.variants import WITHOUT_CARRY
from benchmarks.setting import Setting

LEGEND = (
    "*Final loss*: over all training data after the last step, of the weights in a "
    "model of float32, so that only training differs: median (smallest … largest) over "
    "{seeds} seeds; in (1000 $)² for Boston, in nats for the others. *From float32*: "
    "the median's distance from that of the same optimizer in float32 "
    f"(`{WITHOUT_CARRY}` from `Adam`); *by seed*: the smallest and the largest of the "
    f"seeds' distances. *Within {TOLERANCE:.0%}*: the verdict, on the medians, for "
    "what is promised; the other lines are there to be compared with. *Weights moved*: "
    "the share that training changed, in the seed where it is largest. No run has a "
    "loss scale."
)
HOW = (
    "The whole model is in the dtype: weights, activations and gradients; the loss "
    "itself is computed in float32, as `keras.losses` do. All dtypes start from the "
    "same weights, rounded, and see the same batches in the same order. The learning "
    "rates were chosen in float32."
)


def publish(folder: Path) -> str:
    """Write the pages and the plots of the folder's rows, and return what to say."""
    found, here = rows.read(folder), setting.read(folder)[suite.RUN]
    measured = lines(found)
    plots.write(found, measured, folder)
    shown, answer = table(measured, here), verdict(measured)
    report.write(
        folder,
        title="Three dtypes: float32, bfloat16, float16",
        command="precision",
        table=shown,
        plots=plots.NAMES,
        sections=[
            f"## Within 5 % of float32?\n\n{answer}",
            f"## Where and how\n\n{HOW}",
            _tasks(found),
            f"Seeds {', '.join(map(str, here['seeds']))}. {setting.in_words(here)}",
        ],
    )
    return f"{shown}\n\n{answer}"


def table(measured: pd.DataFrame, here: Setting) -> str:
    """Return the table of all tasks, with what it needs to be read."""
    cells = report.table([_cells(line) for line in measured.to_dict("records")])
    legend = LEGEND.format(seeds=len(here["seeds"]))
    return "\n\n".join([cells, legend, *report.notes(here)])


def _cells(line: Mapping[Any, Any]) -> dict[str, str]:
    near = "yes" if line["near"] else "**no**"
    return {
        "task": line["task"].title,
        "optimizer": f"`{line['optimizer']}`",
        "dtype": line["dtype"],
        "η": f"{line['task'].learning_rate(line['optimizer']):g}",
        "final loss": _spread(line["final"]),
        "from float32": _signed(line["from_float32"]) if line["compared"] else "",
        "by seed": _range(line["by_seed"]),
        f"within {TOLERANCE:.0%}": near if line["promised"] else "",
        "weights moved": f"{line['moved']:.1%}" if line["moved"] else "none",
    }


def verdict(measured: pd.DataFrame) -> str:
    """Return whether 16 bits come near to float32 wherever they should."""
    judged = measured[measured["promised"]]
    missed = judged[~judged["near"]]
    named = [
        f"{line['name']} ({_signed(line['from_float32'])})"
        for line in missed.to_dict("records")
    ]
    answer = f"**No**, not in: {'; '.join(named)}." if named else "Yes."
    finite = judged["from_float32"].dropna()
    farthest = max(finite, key=abs, default=None)
    away = "" if farthest is None else f"; the farthest is {farthest:+.2%} away"
    changed = judged[judged["near_in_own"] != judged["near"]]["name"]
    own = f"another verdict in: {'; '.join(changed)}"
    return (
        f"{answer} Of {len(judged)} combinations of a task, `Adam` or `Momentum`, and "
        f"bfloat16 or float16, {len(judged) - len(missed)} end with a loss whose "
        f"median over the seeds is at most {TOLERANCE:.0%} from float32's, above or "
        f"below{away}. Evaluated in its own dtype instead of float32, a model gets "
        f"{own if len(changed) else 'the same verdict'}."
    )


def _tasks(found: pd.DataFrame) -> str:
    figures = rows.find(found, subject="").pivot(
        index="part", columns="case", values="value"
    )[[PARAMETERS, EPOCHS, STEPS, SECONDS]]
    titles = {task.name: task.title for task in TASKS}
    named = figures.rename(index=titles, columns={SECONDS: "seconds, all runs"})
    return report.table(named.map("{:,.0f}".format).rename_axis("task").reset_index())


def _spread(losses: Sequence[float]) -> str:
    if broken := np.count_nonzero(~np.isfinite(losses)):
        return f"not finite in {broken} of {len(losses)} seeds"
    return report.spread(losses, 4)


def _range(distances: Sequence[float]) -> str:
    finite = [each for each in distances if np.isfinite(each)]
    return f"{_signed(min(finite))} … {_signed(max(finite))}" if finite else ""


def _signed(distance: float) -> str:
    return f"{distance:+.2%}" if np.isfinite(distance) else "not finite"
