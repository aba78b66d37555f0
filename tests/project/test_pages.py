"""Every block of Python on every page runs, and does what the page says it does."""

import pytest

from tests import pages, processes
from tests.backends import BACKEND
from tests.pages import PAGES
from tests.processes import ROOT

EVERYWHERE = {"docs/optimizers.md"}
ALONE = {"README.md"}
# What compares with another library runs where that is installed; beside PyTorch, whose
# gradients of rows only TensorFlow has here too, in a process with both.
WITH_OPTAX = {"docs/from-optax.md"}
WITH_TORCH = {"docs/from-torch.md"}
HERE = {
    "tensorflow": {*PAGES} - ALONE - WITH_OPTAX - WITH_TORCH,
    "jax": WITH_OPTAX | EVERYWHERE,
}.get(BACKEND, EVERYWHERE)


@pytest.mark.parametrize("name", sorted(HERE))
def test_the_python_of_a_page_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pages.run(ROOT / name)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", sorted(WITH_TORCH))
def test_the_python_of_a_page_runs_beside_pytorch(name):
    processes.run(("tests.programs.run_page", name))


@pytest.mark.once
@pytest.mark.parametrize("name", sorted(ALONE))
def test_each_block_runs_by_itself(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pages.run_each_alone(ROOT / name)


@pytest.mark.once
@pytest.mark.parametrize("name", PAGES)
def test_every_block_says_its_language(name):
    fences = [line for line in (ROOT / name).read_text().splitlines() if "```" in line]
    languages = {fence[3:].split(" title=")[0] for fence in fences[::2]}
    assert languages <= {"python", "sh", "text"}
    assert {fence for fence in fences[1::2]} <= {"```"}


@pytest.mark.once
def test_a_block_that_fails_is_seen_and_a_later_block_sees_an_earlier(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\na = 1\n```\n\n```python\nassert a == 1\n```\n")
    pages.run(page)
    with pytest.raises(NameError):
        pages.run_each_alone(page)
    for wrong in ("assert a == 2", ">>> a\n2", ">>> b"):
        page.write_text(f"```python\na = 1\n```\n\n```python\n{wrong}\n```\n")
        with pytest.raises(Exception):  # noqa: B017 # sybil's own, for a prompt
            pages.run(page)
