"""The pages of the results: what travelled, beside what had to."""

from pathlib import Path

import pandas as pd

from benchmarks import report, rows, setting, suite
from benchmarks.workers import far, plots
from benchmarks.workers.counts import counts, size
from benchmarks.workers.plans import BY_FORMULA, FEWEST, OURS, PLANS, WIDTH, Plan

OF_COUNTS = (
    "Bytes of one step, sent by all workers together, by ours (`Adam`). *Computed*: "
    "what has to travel, by the formulas of "
    "[model.py](../../workers/model.py); nothing in them was fitted. *More*: measured "
    "less computed, which is the protocol's. *Of a message*: that over the messages of "
    "the step. `lazy` and `exact` send the same rows; each worker touches as many, "
    "different ones of its own."
)


def publish(folder: Path) -> str:
    """Write the pages and the plot of the folder's rows, and return what to say."""
    here, counted = setting.read(folder)[suite.RUN], counts(rows.read(folder))
    by_formula = counted["case"].isin(BY_FORMULA)
    plots.write(counted[by_formula], folder)
    streams = table(counted[~by_formula], PLANS[here["plan"]])
    of_workers = by_workers(counted[by_formula])
    report.write(
        folder,
        title="Bytes on the wire",
        command="workers",
        table="\n\n".join([streams, *report.missing(here["missing"])]),
        plots=[plots.NAME],
        sections=[
            f"## By the number of workers\n\n{of_workers}\n\n{OF_COUNTS}",
            f"## Far from here: computed, not measured\n\n{far.ASSUMED}",
            far.held(),
            far.cost(),
            f"## Where\n\n{setting.in_words(here)}",
        ],
    )
    return f"{streams}\n\n{of_workers}"


def table(streams: pd.DataFrame, plan: Plan) -> str:
    """Return the bytes of each stream and contender, with what it needs to be read."""
    rows_of_each, lookups = streams["rows"].max(), streams["touched"].max()
    different = {
        case.name: f"{case.different():,.0f} of {lookups:,}"
        for case in plan.cases
        if case.is_stream and case.subject == OURS
    }
    sent = streams.pivot(index="case", columns="subject", values="sent")
    cells = sent.loc[streams["case"].unique(), streams["subject"].unique()].map(size)
    cells.columns = cells.columns.str.replace("^[^,]+", r"`\g<0>`", regex=True)
    cells.insert(0, "different rows", cells.index.map(different))
    lines = cells.rename_axis("lookups").reset_index().to_dict("records")
    return (
        f"{report.table(lines)}\n\n"
        f"Bytes of one step, from both of {FEWEST} workers of "
        "`MultiWorkerMirroredStrategy`, counted by the system on their connections. A "
        f"table of {rows_of_each:,} rows of {WIDTH}; each worker looks up "
        f"{lookups:,} rows, row `k` in proportion to `k⁻ˢ`. *Different rows*: "
        "a worker's in a step, in the mean. *Clipped*: with `global_clipnorm`. "
        "*Repeats sent*: with the sum as TensorFlow makes it, each row as often as it "
        "was looked up. `Adam` is lazy."
    )


def by_workers(counted: pd.DataFrame) -> str:
    """Return the table of what was counted beside the formulas."""
    cells = counted[["label", "workers"]].set_axis(["gradient", "workers"], axis=1)
    cells["measured"] = counted["sent"].map(size)
    cells["computed"] = counted["computed"].map(size)
    ratio = counted["sent"] / counted["computed"]
    cells["measured ÷ computed"] = ratio.map("{:.3f}".format)
    cells["more"] = counted["more"].map(size)
    of_a_message = counted["more"] / counted["messages"]
    cells["of a message"] = of_a_message.map("{:.0f} bytes".format)
    return report.table(cells)
