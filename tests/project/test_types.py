"""mypy and pyright accept what is right, refuse what is wrong, and help shows all."""

import inspect
import json
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest

from keras_textbook_opt import SGD, Adam, Momentum, TextbookOptimizer
from keras_textbook_opt.settings import DEFAULTS
from tests.pages import PAGES, blocks
from tests.processes import ROOT

pytestmark = pytest.mark.once

CALLS = ROOT / "tests" / "typed" / "calls.py"


def mypy(*files: Path, cwd: Path) -> dict[Path, set[int]]:
    """The lines with errors of each file."""
    settings = ROOT / "pyproject.toml"
    said = run("mypy", "--config-file", settings, *files, cwd=cwd)
    found = re.findall(r"^(.+?):(\d+): error:", said, flags=re.M)
    return by_file((cwd / file, int(line)) for file, line in found)


def pyright(*files: Path, cwd: Path) -> dict[Path, set[int]]:
    python = sys.executable
    said = run("pyright", "--outputjson", "--pythonpath", python, *files, cwd=cwd)
    return by_file(
        (Path(each["file"]), each["range"]["start"]["line"] + 1)
        for each in json.loads(said)["generalDiagnostics"]
        if each["severity"] == "error"
    )


def run(checker: str, *arguments: str | Path, cwd: Path) -> str:
    command = [sys.executable, "-m", checker, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def by_file(errors) -> dict[Path, set[int]]:
    lines: dict[Path, set[int]] = {}
    for file, line in errors:
        lines.setdefault(file, set()).add(line)
    return lines


def program(page: Path) -> str:
    """The blocks of a page, which run one after the other in one namespace."""
    sources = (getattr(each.parsed, "source", each.parsed) for each in blocks(page))
    return "\n".join(map(str, sources))


def refused(checker: str) -> set[int]:
    """The lines of `CALLS` that the checker has to refuse."""
    return {
        number
        for number, line in enumerate(CALLS.read_text().splitlines(), start=1)
        if re.search(rf"# refused(?!\w)(?! by (?!{checker}))", line)
    }


@pytest.mark.long
@pytest.mark.parametrize("check", [mypy, pyright])
def test_wrong_calls_are_refused_and_right_ones_and_the_documents_accepted(
    check, tmp_path
):
    # Keras's own types refuse `verbose=0`; the others may not be installed.
    for library in ("keras", "optax", "tf_keras", "torch"):
        stub = tmp_path / "typings" / library / "__init__.pyi"
        stub.parent.mkdir(parents=True)
        stub.write_text(
            "from typing import Any\ndef __getattr__(name: str) -> Any: ...\n"
        )
    pages = [tmp_path / f"{Path(page).stem.lower()}_md.py" for page in PAGES]
    for page, file in zip(PAGES, pages):
        file.write_text(program(ROOT / page))
    assert check(CALLS, cwd=ROOT) == {CALLS: refused(check.__name__)}
    assert check(*pages, cwd=tmp_path) == {}


@pytest.mark.parametrize("cls", [SGD, Momentum, Adam, TextbookOptimizer])
def test_help_shows_every_argument(cls):
    signature = inspect.signature(cls)
    assert next(iter(signature.parameters)) == "learning_rate"
    assert signature.parameters.keys() >= DEFAULTS.keys()
    shown = pydoc.plain(pydoc.render_doc(cls))
    for name, parameter in signature.parameters.items():
        assert name in shown.split("Args:")[0]
        if name in DEFAULTS:
            assert parameter.default == DEFAULTS[name]
