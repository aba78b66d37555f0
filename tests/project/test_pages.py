"""Every Python block of every page runs."""

import shutil

import pytest

from tests import pages, processes
from tests.backends import BACKEND
from tests.pages import PAGES
from tests.processes import ROOT

# Pages that run on every backend.
EVERYWHERE = {"docs/optimizers.md"}
# This page compares with other libraries. It runs where PyTorch is installed, in a
# process of its own with TensorFlow as backend, since it has sparse gradients.
BESIDE_TORCH = {"docs/migrate.md"}
LONG = {"docs/chapter.md"}
HERE = {*PAGES} - BESIDE_TORCH if BACKEND == "tensorflow" else EVERYWHERE


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.long if n in LONG else ())
        for n in sorted(HERE)
    ],
)
def test_page_runs(name, tmp_path, monkeypatch):
    shutil.copy(ROOT / "benchmarks" / "data" / "boston_housing.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    pages.run(ROOT / name)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", sorted(BESIDE_TORCH))
def test_page_runs_beside_pytorch(name):
    processes.run(("tests.programs.run_page", name))


@pytest.mark.once
@pytest.mark.parametrize("name", PAGES)
def test_blocks_name_their_language(name):
    fences = [line for line in (ROOT / name).read_text().splitlines() if "```" in line]
    languages = {fence.strip()[3:].split(" title=")[0] for fence in fences[::2]}
    assert languages <= {"python", "sh", "text"}
    assert {fence.strip() for fence in fences[1::2]} <= {"```"}


@pytest.mark.once
def test_page_fails_if_a_block_fails(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\na = 1\n```\n\n```python\nassert a == 2\n```\n")
    with pytest.raises(AssertionError):
        pages.run(page)
