"""Mutants of the package, a sample drawn with a fixed seed: do the tests notice them?

`python -m tests.mutants [COUNT]`. Each is planted in a copy of the tree by cosmic-ray,
and tried on NumPy, on which tests are quick; who survives that is tried on TensorFlow.
What is found stays in `build/mutants`, and a run that was stopped goes on from there.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from cosmic_ray.work_db import WorkDB, use_db

from tests.processes import ROOT

PACKAGE = "keras_textbook_opt"
FOLDER = ROOT / "build" / "mutants"
TREE = FOLDER / "tree"
COUNT, SEED = 100, 0
# Seconds. A single test that takes so long hangs, and ends the tests. All together may
# take far longer: cosmic-ray counts as killed whoever reaches its own limit.
HANGS, LIMIT = 300, 7200.0
COPIED = [PACKAGE, "tests", "conftest.py", "pyproject.toml"]
# What other backends run, and the checker, for which faults are planted by hand.
EXCLUDED = [
    *("backends/jax.py", "backends/torch.py", "backends/torch_lists/*.py"),
    *("testing/*.py", "testing/*/*.py"),
]
# `|` stands in annotations, where nobody computes with it.
UNWANTED = "ReplaceBinaryOperator_BitOr"


class Stage(NamedTuple):
    """On which backend which tests are run."""

    backend: str
    tests: list[str]


ROOMS = ["equations", "gradients", "settings", "monitoring", "state", "keras"]
STAGES = [
    Stage("numpy", [f"tests/{room}" for room in ROOMS]),
    Stage("tensorflow", [f"tests/{room}" for room in (*ROOMS, "per_backend")]),
]


def main(count: int) -> None:
    if not TREE.exists():
        copy_the_tree()
    items = None
    for stage in STAGES:
        session = FOLDER / f"{stage.backend}.sqlite"
        if not session.exists():
            begin(stage, session, count, items)
        run("exec", settings_of(stage), session, backend=stage.backend)
        items = survivors(session)
        print(f"{len(items)} of {len(results(session))} survive on {stage.backend}")
        if not items:
            break
    for item in items or []:
        print("\n" + results(session)[item.job_id].diff)


def copy_the_tree() -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        source, target = ROOT / name, TREE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignored)
        else:
            shutil.copy(source, target)


def settings_of(stage: Stage) -> Path:
    command = (
        f"{sys.executable} -m pytest -x -q -p no:cacheprovider "
        f"-o faulthandler_timeout={HANGS} -o faulthandler_exit_on_timeout=true"
    )
    excluded = [f"{PACKAGE}/{name}" for name in EXCLUDED]
    file = FOLDER / f"{stage.backend}.toml"
    file.write_text(
        "[cosmic-ray]\n"
        f'module-path = "{PACKAGE}"\n'
        f"timeout = {LIMIT}\n"
        f"excluded-modules = {excluded}\n"
        f'test-command = "{command} {" ".join(stage.tests)}"\n'
        '[cosmic-ray.distributor]\nname = "local"\n'
    )
    return file


def begin(stage: Stage, session: Path, count: int, items: list | None) -> None:
    """A session with these mutants, or with a sample, once the tests pass without."""
    settings = settings_of(stage)
    run("baseline", settings, backend=stage.backend)
    fresh = session.with_suffix(".new")
    run("init", "--force", settings, fresh, backend=stage.backend)
    with use_db(str(fresh), WorkDB.Mode.open) as database:
        chosen = items or sample(database.work_items, count)
        database.clear()
        database.add_work_items(chosen)
    fresh.rename(session)


def sample(items: Iterable[Any], count: int) -> list:
    """The same for each run, though the names of jobs are not."""
    wanted = {str(item.mutations): item for item in items}
    names = sorted(name for name in wanted if UNWANTED not in name)
    return [wanted[name] for name in random.Random(SEED).sample(names, count)]


def run(command: str, *arguments: str | Path, backend: str) -> None:
    """A command of cosmic-ray, in the copy of the tree."""
    variables = {
        "KERAS_BACKEND": backend,
        # A mutant may be as long, and of the same second, as what it stands for.
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(TREE),
    }
    cosmic_ray = Path(sys.executable).with_name("cosmic-ray")
    subprocess.run(
        [cosmic_ray, command, *arguments],
        cwd=TREE,
        env=os.environ | variables,
        check=True,
    )


def results(session: Path) -> dict[str, Any]:
    with use_db(str(session), WorkDB.Mode.open) as database:
        return dict(database.results)


def survivors(session: Path) -> list:
    with use_db(str(session), WorkDB.Mode.open) as database:
        survived = {job for job, result in database.results if not result.is_killed}
        return [item for item in database.work_items if item.job_id in survived]


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else COUNT)
