"""The results as Markdown and as JSON, written from the same figures."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import markdown
from benchmarks.workers.plans import CONTENDERS

TABLE = "table.md"
REPORT = "README.md"
JSON = "results.json"


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


def write(results: Results, folder: Path) -> None:
    """Write the table, the report around it, and the JSON file into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(asdict(results), indent=1, ensure_ascii=False) + "\n"
    (folder / TABLE).write_text(table(results), encoding="utf-8")
    (folder / REPORT).write_text(report(results), encoding="utf-8")
    (folder / JSON).write_text(content, encoding="utf-8")


def table(results: Results) -> str:
    """Return the table, with what it needs to be read."""
    rows = [
        {
            "lookups": _name(stream.exponent),
            "different rows": f"{stream.distinct:,.0f} of {results.lookups:,}",
            **{
                f"`{name}`" if "," not in name else _variant(name): _size(
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
        f"{machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['system']}; Python "
        f"{versions['python']}, TensorFlow {versions['tensorflow']}, Keras "
        f"{versions['keras']}; {results.seconds:.0f} s.",
    ]
    return "\n\n".join(sections) + "\n"


def _name(exponent: float) -> str:
    return f"Zipf, s = {exponent:g}" if exponent else "uniform"


def _variant(name: str) -> str:
    contender, _, variant = name.partition(", ")
    return f"`{contender}`, {variant}"


def _size(count: int) -> str:
    if count < 100_000:
        return f"{count / 1_000:.1f} kB"
    return f"{count / 1_000:,.0f} kB"


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
