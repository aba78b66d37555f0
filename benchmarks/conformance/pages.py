"""The pages of the results: how many promises each optimizer keeps, and which not."""

import re
from pathlib import Path

import pandas as pd

from benchmarks import report, setting, suite
from benchmarks.conformance import results

SIGNS = {"passed": "✓", "failed": "**✗**", "skipped": "·", "xfail": "x"}
LEGEND = "✓ passed, **✗** failed, · proves nothing here"
MEANING = (
    "What each check promises, and how to mend what fails: "
    "[docs/checks.md](../../../docs/checks.md)."
)


def publish(folder: Path) -> str:
    """Write the pages of the folder's results, and return what to say."""
    found, here = results.read(folder), setting.read(folder)[suite.RUN]
    said, versions = counts(found), here["versions"]
    about = (
        f"Keras {versions['keras']} on TensorFlow {versions['tensorflow']}; the "
        f"checker's code has the fingerprint `{here['checker']}`. {LEGEND}."
    )
    houses = list(found.groupby("house", sort=False))
    matrices = [f"### {house}\n\n{matrix(of_house)}" for house, of_house in houses]
    report.write(
        folder,
        title="Which promises an optimizer keeps",
        command="conformance",
        table="\n\n".join([about, said, *report.missing(here["missing"]), *matrices]),
        sections=[
            MEANING,
            *(
                f"## What failed: {house}\n\n{failures(of_house)}"
                for house, of_house in houses
                if "failed" in set(of_house["status"])
            ),
        ],
    )
    return said


def counts(found: pd.DataFrame) -> str:
    """Return a line an optimizer: how many checks said what, and their time."""
    who = (found["house"] + ": " + found["optimizer"]).rename("optimizer")
    table = pd.crosstab(who, found["status"]).reindex(
        index=who.unique(), columns=["passed", "failed", "skipped"], fill_value=0
    )
    seconds = found["seconds"].groupby(who).agg(lambda of_one: sum(of_one))
    table["seconds"] = seconds.map("{:.0f}".format)
    return report.table(table.reset_index())


def matrix(of_house: pd.DataFrame) -> str:
    """Return a line a check, a column an optimizer."""
    signs = of_house.assign(sign=of_house["status"].map(SIGNS))
    wide = signs.pivot(index="check", columns="optimizer", values="sign")
    wide = wide.loc[of_house["check"].unique(), of_house["optimizer"].unique()]
    return report.table(wide.reset_index())


def failures(of_house: pd.DataFrame) -> str:
    """Return a line for each optimizer and each check that failed on it."""
    failed = of_house[of_house["status"] == "failed"]
    return "\n".join(
        f"- {each.optimizer}, `{each.check}`: {_what_came(str(each.said))}"
        for each in failed.itertuples()
    )


def _what_came(said: str) -> str:
    came = " ".join(said.partition("\nTo mend it: ")[0].split())
    # A number that is an address or a counter changes from run to run.
    return re.sub(r"\b(\w+?)_\d+/", r"\1/", came)
