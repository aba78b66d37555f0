"""Run the checks on all contenders, and write what they said."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from benchmarks import machine
from benchmarks.conformance import contenders, report
from benchmarks.conformance.contenders import CONTENDERS
from benchmarks.progress import bar
from keras_textbook_opt.testing import CHECKS, Result, check_optimizer, registry

CHECKER = Path(registry.__file__).parent


def carry_out(
    folder: Path, only: list[str], select: list[str] | None, console: Console
) -> None:
    """Put those of `only`, or all, to the checks that are selected, or to all.

    What the folder has of other optimizers and other checks stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = read(folder)
    chosen = [
        (house, name, factory)
        for house, members in CONTENDERS.items()
        for name, factory in members.items()
        if not only or house in only or name in only
    ]
    with bar(console, 50) as progress:
        task = progress.add_task("", total=len(chosen) * len(registry.selected(select)))
        for house, name, factory in chosen:
            progress.update(task, description=f"{house}: {name}")
            found = check_optimizer(
                factory,
                on_fail=None,
                on_skip=None,
                select=select,
                callback=lambda **_: progress.update(task, advance=1),
            )
            of_house = results.setdefault(house, {})
            of_house[name] = merged(of_house.get(name, []), map(entry, found))
            write(folder, results)


def entry(result: Result) -> dict:
    """What is kept of a result."""
    return {
        "check_name": result["check_name"],
        "status": result["status"],
        "said": result["exception"] and str(result["exception"]),
        "seconds": round(result["seconds"], 1),
    }


def merged(old: list[dict], new: Iterable[dict]) -> list[dict]:
    """The entries of each check, the new ones before the old, in the order of a run."""
    by_name = {each["check_name"]: each for each in [*old, *new]}
    names = [check.__name__ for check in CHECKS]
    return [by_name[name] for name in names if name in by_name]


def read(folder: Path) -> dict:
    """The results of the folder, none where there are none."""
    path = folder / report.JSON
    return json.loads(path.read_text())["results"] if path.exists() else {}


def in_order(results: dict) -> dict:
    """The houses and their optimizers as they are listed; last, what is not here."""
    return {
        house: {
            name: results[house][name]
            for name in [*members, *(results[house].keys() - members.keys())]
            if name in results[house]
        }
        for house, members in CONTENDERS.items()
        if house in results
    }


def fingerprint() -> str:
    """Twelve digits that change with the checker's code."""
    files = sorted(CHECKER.rglob("*.py"))
    return hashlib.sha256(b"".join(map(Path.read_bytes, files))).hexdigest()[:12]


def write(folder: Path, results: dict) -> None:
    """The results with what they hold for, and the two pages made of them."""
    written = {
        "versions": machine.versions((*machine.PACKAGES, *contenders.PACKAGES)),
        "checker": fingerprint(),
        "results": in_order(results),
    }
    (folder / report.JSON).write_text(
        json.dumps(written, indent=1, ensure_ascii=False) + "\n"
    )
    report.write(folder, written)
