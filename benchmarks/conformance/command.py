"""The benchmark's parts: each contender, put to the checks."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from benchmarks import machine, setting, suite
from benchmarks.conformance import pages, results
from benchmarks.conformance.contenders import CONTENDERS, PACKAGES
from benchmarks.suite import Advance, Part
from keras_textbook_opt.testing import CHECKS, check_optimizer, registry


@dataclass(frozen=True)
class Plan:
    """Which optimizers of each house are put to which checks; to all with `None`."""

    name: str
    contenders: Mapping[str, Mapping[str, Any]]
    select: list[str] | None = None


ONE_OF_EACH = {house: dict([*kinds.items()][:1]) for house, kinds in CONTENDERS.items()}
FULL = Plan("full", CONTENDERS)
QUICK = Plan("quick", ONE_OF_EACH, select=["contract"])


def carry_out(
    plan: Plan,
    folder: Path,
    console: Console,
    only: Sequence[str] | None = None,
    select: list[str] | None = None,
) -> int:
    """Put those of `only`, or all, to the checks, and return the exit code.

    What the folder has of other optimizers and other checks stays.
    """
    select = select or plan.select
    count = len(registry.selected(select))
    parts = [
        Part(
            f"{house}: {name}",
            count,
            partial(put_to_checks, make, (house, name), select, folder),
        )
        for house, kinds in plan.contenders.items()
        for name, make in kinds.items()
        if not only or house in only or name in only
    ]
    versions = machine.versions((*machine.PACKAGES, *PACKAGES))
    facts = {"versions": versions, "checker": fingerprint()}
    with setting.of_a_run(plan.name, **facts) as run:
        found, run["missing"] = suite.in_turn(parts, console)
    if found:
        setting.write({suite.RUN: run}, folder)
        print(pages.publish(folder), flush=True)
    return suite.ended(found, run["missing"], folder, console)


def put_to_checks(
    make: Callable[..., Any],
    who: tuple[str, str],
    select: list[str] | None,
    folder: Path,
    advance: Advance,
) -> None:
    """Put an optimizer to the checks, and the results into the folder at once."""
    found = check_optimizer(
        make, on_fail=None, on_skip=None, select=select, callback=lambda **_: advance(1)
    )
    new = pd.DataFrame(found).assign(house=who[0], optimizer=who[1])
    new["said"] = [str(each or "") for each in new["exception"]]
    new = new.rename(columns={"check_name": "check"})[results.COLUMNS].round(1)
    checks = [check.__name__ for check in CHECKS]
    results.write(results.merged(results.read(folder), new, checks), folder)


def fingerprint() -> str:
    """Return twelve digits that change with the checker's code."""
    files = sorted(Path(registry.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(map(Path.read_bytes, files))).hexdigest()[:12]
