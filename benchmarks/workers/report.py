"""The results as Markdown and as JSON, written from the same figures."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import markdown
from benchmarks.workers import far, plots
from benchmarks.workers.counts import Count, size
from benchmarks.workers.plans import CONTENDERS, DENSE

TABLE = "table.md"
REPORT = "README.md"
JSON = "results.json"
OF_COUNTS = (
    "Bytes of one step, sent by all workers together, by ours (`Adam`). *Computed*: "
    "what has to travel, by the formulas of "
    "[model.py](../../workers/model.py); nothing in them was fitted. *More*: measured "
    "less computed, which is the protocol's. *Of a message*: that over the messages of "
    "the step. `lazy` and `exact` send the same rows; each worker touches as many, "
    "different ones of its own."
)


@dataclass(frozen=True)
class Stream:
    """What a stream of lookups cost: bytes a step, by contender."""

    exponent: float
    distinct: float
    bytes_a_step: dict[str, int]


@dataclass(frozen=True)
class Results:
    """Everything that is written about one run of the benchmark."""

    versions: dict[str, str]
    machine: dict[str, str | int | float]
    plan: str
    seconds: float
    workers: int
    rows: int
    width: int
    lookups: int
    streams: tuple[Stream, ...]
    counts: tuple[Count, ...]


def write(results: Results, folder: Path) -> None:
    """Write the table, the report around it, the plot and the JSON file."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(asdict(results), indent=1, ensure_ascii=False) + "\n"
    (folder / TABLE).write_text(table(results), encoding="utf-8")
    (folder / REPORT).write_text(report(results), encoding="utf-8")
    (folder / JSON).write_text(content, encoding="utf-8")
    plots.write(results.counts, folder)


def table(results: Results) -> str:
    """Return the table, with what it needs to be read."""
    rows = [
        {
            "lookups": _name(stream.exponent),
            "different rows": f"{stream.distinct:,.0f} of {results.lookups:,}",
            **{
                f"`{name}`" if "," not in name else _variant(name): size(
                    stream.bytes_a_step[name]
                )
                for name in CONTENDERS
            },
        }
        for stream in results.streams
    ]
    return f"{markdown.table(rows)}\n\n{_legend(results)}\n"


def report(results: Results) -> str:
    """Return the table with the setting."""
    machine, versions = results.machine, results.versions
    sections = [
        "# Bytes on the wire",
        "Written by `python -m benchmarks workers`.",
        table(results).strip(),
        "## By the number of workers",
        by_workers(results.counts),
        OF_COUNTS,
        f"![Bytes of a step, measured and computed]({plots.NAME})",
        "## Far from here: computed, not measured",
        far.report(),
        "## Where",
        f"{machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['system']}; Python "
        f"{versions['python']}, TensorFlow {versions['tensorflow']}, Keras "
        f"{versions['keras']}; {results.seconds:.0f} s.",
    ]
    return "\n\n".join(sections) + "\n"


def by_workers(counts: Sequence[Count]) -> str:
    """Return the table of what was counted beside the formulas."""
    return markdown.table(
        [
            {
                "gradient": _gradient(count),
                "workers": str(count.workers),
                "measured": size(count.bytes_a_step),
                "computed": size(count.computed),
                "measured ÷ computed": f"{count.ratio:.3f}",
                "more": size(count.more),
                "of a message": f"{count.more / count.messages:.0f} bytes",
            }
            for count in sorted(counts, key=lambda c: (c.gradient, c.rows, c.touched))
        ]
    )


def _gradient(count: Count) -> str:
    if count.gradient == DENSE:
        return f"dense, {count.rows * count.width:,} parameters"
    return f"{count.touched:,} rows of {count.rows:,}, `{count.gradient}`"


def _name(exponent: float) -> str:
    return f"Zipf, s = {exponent:g}" if exponent else "uniform"


def _variant(name: str) -> str:
    contender, _, variant = name.partition(", ")
    return f"`{contender}`, {variant}"


def _legend(results: Results) -> str:
    return (
        f"Bytes of one step, from both of {results.workers} workers of "
        "`MultiWorkerMirroredStrategy`, counted by the system on their connections. A "
        f"table of {results.rows:,} rows of {results.width}; each worker looks up "
        f"{results.lookups:,} rows, row `k` in proportion to `k⁻ˢ`. *Different rows*: "
        "a worker's in a step, in the mean. *Clipped*: with `global_clipnorm`. "
        "*Repeats sent*: with the sum as TensorFlow makes it, each row as often as it "
        "was looked up. `Adam` is lazy."
    )
