"""The archives are complete, and a wheel works in a fresh environment."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.pages import blocks
from tests.processes import ROOT

pytestmark = [pytest.mark.once, pytest.mark.long, pytest.mark.xdist_group("archive")]

NOT_OURS = shutil.ignore_patterns(".*_cache", ".git", ".venv", "build", "dist", "*.pyc")
# One file of each kind.
IN_SOURCE = [
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    ".github/workflows/tests.yml",
    "benchmarks/results/steps/results.csv",
    "benchmarks/steps/plans.py",
    "conftest.py",
    "constraints.txt",
    "docs/build.py",
    "docs/chapter.md",
    "docs/chapter/together.png",
    "docs/valley.png",
    "examples/torch_ddp.py",
    "keras_textbook_opt/py.typed",
    "mkdocs.yml",
    "tests/conftest.py",
    "tests/programs/run_page.py",
]


def test_runtime_dependencies_are_keras_and_numpy():
    requirements = importlib.metadata.requires("keras-textbook-opt") or []
    runtime = [each for each in requirements if "extra ==" not in each]
    names = {re.split(r"[^\w.-]", requirement)[0] for requirement in runtime}
    assert names == {"keras", "numpy"}


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a command without this tree on its path; return its output."""
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source_archive(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    tree = shutil.copytree(ROOT, folder / "tree", ignore=NOT_OURS)
    build = "from setuptools import build_meta as b; b.build_sdist('..')"
    run(sys.executable, "-c", build, cwd=tree)
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(source_archive) -> Path:
    """Build a wheel from the source archive, offline."""
    pip = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps"]
    folder = source_archive.parent
    run(*pip, "--no-build-isolation", source_archive, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_source_archive_has_all_that_a_developer_needs(source_archive):
    with tarfile.open(source_archive) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert set(IN_SOURCE) - names == set()
    assert [name for name in names if name.endswith(".pyc")] == []
    assert {name for name in names if name.startswith((".venv", "build"))} == set()


def test_wheel_has_only_the_package_and_its_command(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    package = {name for name in names if name.startswith("keras_textbook_opt/")}
    about = {name for name in names if ".dist-info/" in name}
    assert set(names) == package | about | {"check_keras_optimizer.py"}
    assert any(name.endswith("/entry_points.txt") for name in about)
    here = (ROOT / "keras_textbook_opt").rglob("*.py")
    files = {file.relative_to(ROOT).as_posix() for file in here}
    assert package == files | {"keras_textbook_opt/py.typed"}


@pytest.mark.parametrize(
    ("backend", "others"),
    [("tensorflow", ("jax", "torch")), ("jax", ("tensorflow", "torch"))],
)
def test_wheel_trains_the_example_with_one_backend(backend, others, wheel, tmp_path):
    """This test downloads from the package index."""
    run(sys.executable, "-m", "venv", "bare", cwd=tmp_path)
    python = tmp_path / "bare" / "bin" / "python"
    install = ["-m", "pip", "install", "--quiet", "--no-cache-dir", "--constraint"]
    constraints = ROOT / "constraints.txt"
    run(python, *install, constraints, f"{wheel}[{backend}]", cwd=tmp_path)
    example = tmp_path / "example.py"
    example.write_text(str(blocks(ROOT / "README.md")[0].parsed))
    loss = run(python, example, cwd=tmp_path, KERAS_BACKEND=backend)
    assert float(loss.splitlines()[-1]) < 0.1
    absent = f"""
import importlib.util
import keras_textbook_opt
assert keras_textbook_opt.__file__.startswith({str(tmp_path)!r})
assert not any(map(importlib.util.find_spec, {others!r}))
"""
    run(python, "-c", absent, cwd=tmp_path, KERAS_BACKEND=backend)
