"""The pages of the results: what travelled, beside what had to."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import report, rows, setting, suite
from benchmarks.workers import far, plots
from benchmarks.workers.counts import Count, counts, size
from benchmarks.workers.plans import PLANS, Plan

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
    found, here = rows.read(folder), setting.read(folder)[suite.RUN]
    plan = PLANS[here["plan"]]
    counted = counts(found, plan)
    streams = [count for count in counted if count.case.exponent is not None]
    others = [count for count in counted if count.case.exponent is None]
    plots.write(others, folder)
    missing = report.missing(here["missing"])
    said = ["\n\n".join([table(streams, plan), *missing]), by_workers(others)]
    report.write(
        folder,
        title="Bytes on the wire",
        command="workers",
        table=said[0],
        plots=[plots.NAME],
        sections=[
            f"## By the number of workers\n\n{said[1]}\n\n{OF_COUNTS}",
            f"## Far from here: computed, not measured\n\n{far.ASSUMED}",
            far.held(),
            far.cost(),
            f"## Where\n\n{setting.in_words(here)}",
        ],
    )
    return "\n\n".join(said)


def table(streams: Sequence[Count], plan: Plan) -> str:
    """Return the bytes of each stream and contender, with what it needs to be read."""
    lines: dict[str, dict[str, str]] = {}
    for count in streams:
        case = count.case
        if case.name not in lines:
            different = f"{plan.different(case):,.0f} of {plan.lookups:,}"
            lines[case.name] = {"lookups": case.name, "different rows": different}
        name, comma, variant = case.contender.partition(", ")
        lines[case.name][f"`{name}`{comma}{variant}"] = size(count.sent)
    return (
        f"{report.table(list(lines.values()))}\n\n"
        f"Bytes of one step, from both of {plan.workers[0]} workers of "
        "`MultiWorkerMirroredStrategy`, counted by the system on their connections. A "
        f"table of {plan.rows:,} rows of {plan.width}; each worker looks up "
        f"{plan.lookups:,} rows, row `k` in proportion to `k⁻ˢ`. *Different rows*: "
        "a worker's in a step, in the mean. *Clipped*: with `global_clipnorm`. "
        "*Repeats sent*: with the sum as TensorFlow makes it, each row as often as it "
        "was looked up. `Adam` is lazy."
    )


def by_workers(counted: Sequence[Count]) -> str:
    """Return the table of what was counted beside the formulas."""
    return report.table(
        [
            {
                "gradient": count.case.label,
                "workers": str(count.workers),
                "measured": size(count.sent),
                "computed": size(count.computed),
                "measured ÷ computed": f"{count.ratio:.3f}",
                "more": size(count.more),
                "of a message": f"{count.more / count.messages:.0f} bytes",
            }
            for count in counted
        ]
    )
