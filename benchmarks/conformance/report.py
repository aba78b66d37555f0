"""The table of checks and optimizers, and what each failure said."""

import re
from pathlib import Path
from typing import Any

from benchmarks import markdown

JSON, TABLE, REPORT = "results.json", "table.md", "README.md"
SIGNS = {"passed": "✓", "failed": "**✗**", "skipped": "·", "xfail": "x"}
LEGEND = "✓ passed, **✗** failed, · proves nothing here"


def write(folder: Path, written: dict[str, Any]) -> None:
    """Write both pages."""
    (folder / TABLE).write_text(counts(written["results"]) + "\n")
    (folder / REPORT).write_text(page(written))


def page(written: dict[str, Any]) -> str:
    """The tables of each house, and below them a line for each failure."""
    versions = written["versions"]
    parts = [
        "# Which promises an optimizer keeps",
        f"`python -m benchmarks conformance` with Keras {versions['keras']} on "
        f"TensorFlow {versions['tensorflow']}, and the checker of keras-textbook-opt "
        f"{versions['keras-textbook-opt']}, whose code has the fingerprint "
        f"`{written['checker']}`. {LEGEND}. What each check promises, and "
        "how to mend what fails: [docs/checks.md](../../../docs/checks.md).",
        counts(written["results"]),
    ]
    for house, members in written["results"].items():
        parts += [f"## {house}", matrix(members)]
        failures = failures_of(members)
        parts += ["What failed:", "\n".join(failures)] if failures else []
    return "\n\n".join(parts) + "\n"


def tables(written: dict[str, Any]) -> str:
    """What it holds for, and what each check said of the optimizers of each house."""
    versions, results = written["versions"], written["results"]
    houses = [f"### {house}\n\n{matrix(members)}" for house, members in results.items()]
    about = (
        f"Keras {versions['keras']} on TensorFlow {versions['tensorflow']}; the "
        f"checker's code has the fingerprint `{written['checker']}`. {LEGEND}."
    )
    return "\n\n".join([about, counts(results), *houses])


def counts(results: dict[str, dict[str, list]]) -> str:
    """One row an optimizer: how many checks passed, failed, were skipped, and time."""
    return markdown.table(
        [
            {
                "optimizer": f"{house}: {name}",
                **{
                    status: str(sum(each["status"] == status for each in found))
                    for status in ("passed", "failed", "skipped")
                },
                "seconds": f"{sum(each['seconds'] for each in found):.0f}",
            }
            for house, members in results.items()
            for name, found in members.items()
        ]
    )


def matrix(members: dict[str, list]) -> str:
    """One row a check, one column an optimizer."""
    rows: dict[str, dict[str, str]] = {}
    for name, found in members.items():
        for each in found:
            row = rows.setdefault(each["check_name"], {"check": each["check_name"]})
            row[name] = SIGNS[each["status"]]
    return markdown.table(list(rows.values()))


def failures_of(members: dict[str, list]) -> list[str]:
    """A line for each optimizer and each check that failed on it."""
    return [
        f"- {name}, `{each['check_name']}`: {_first(each['said'])}"
        for name, found in members.items()
        for each in found
        if each["status"] == "failed"
    ]


def _first(said: str) -> str:
    came = re.split(r"\nTo mend it: ", said, maxsplit=1)[0]
    # A number that is an address or a counter changes from run to run.
    return re.sub(r"\b(\w+?)_\d+/", r"\1/", " ".join(came.split()))
