"""`python -m benchmarks`: measurements that take longer than a test may."""

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import rows, suite
from benchmarks.suite import FULL, QUICK

RESULTS = Path(__file__).parent / "results"
COMMANDS = {
    "boston": "Repeat the chapter's experiments with our optimizers and the built-in.",
    "steps": "Time training steps and updates, ours beside the built-in and others.",
    "precision": "Train three models in float32, bfloat16 and float16.",
    "workers": "Count the bytes that workers send each other in a step. Linux only.",
    "conformance": "Run all checks on the optimizers of Keras, ours and others.",
    "redraw": "Write the report and the pictures of results again, from their rows.",
    "readme": "Put the committed figures and tables into the pages that show them.",
}
SUITES = [*COMMANDS][:5]


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    for name, about in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=about)
        if name in SUITES:
            quick = "a short plan; its figures prove nothing"
            command.add_argument("--quick", action="store_true", help=quick)
            only = "a part to measure, may be repeated; the other parts stay"
            command.add_argument("--only", action="append", metavar="PART", help=only)
        if name == "redraw":
            command.add_argument("suite", choices=SUITES)
        if name != "readme":
            folder = "the folder of the results"
            command.add_argument("--output", type=Path, metavar="FOLDER", help=folder)
    return top


def main(arguments: list[str] | None = None) -> None:
    """Run a command."""
    given = parser().parse_args(arguments)
    suite.hide_native_logs()
    if given.command == "readme":
        return import_module("benchmarks.readme").update()
    if given.command == "redraw":
        folder = given.output or RESULTS / given.suite
    else:
        folder = measure(given)
    pages = import_module(f"benchmarks.{getattr(given, 'suite', given.command)}.pages")
    print(pages.publish(folder), flush=True)


def measure(given: Any) -> Path:
    """Measure a suite, by default into build/, and return the folder of its results."""
    plan = QUICK if given.quick else FULL
    build = Path("build") / f"benchmark{'-quick' * given.quick}" / given.command
    folder = given.output or build
    if given.command != "steps":  # Its processes choose for themselves.
        os.environ |= {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    command = import_module(f"benchmarks.{given.command}.command")
    known = command.parts(plan)
    if unknown := set(given.only or ()) - known.keys():
        sys.exit(f"--only: {sorted(unknown)} is not among {[*known]}")
    parts = {name: known[name] for name in given.only or known}
    suite.carry_out(parts, plan, folder, getattr(command, "store", rows.store))
    return folder


if __name__ == "__main__":
    main()
