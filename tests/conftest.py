"""What all tests share: hypothesis profiles, and one thread for each TensorFlow."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pathlib import Path

import hypothesis
import pytest

COMMITTED = Path(__file__).parents[1] / "benchmarks" / "results"

hypothesis.settings.register_profile(
    "quick", max_examples=10, deadline=None, derandomize=True
)
hypothesis.settings.register_profile("thorough", max_examples=250, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """A test of what a benchmark or many fresh processes have done is a long one."""
    for item in items:
        if not {"short_run", "trips"}.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.long)


@pytest.fixture
def results_folder(tmp_path, monkeypatch):
    """Work in an empty folder; return a function that finds there what a run wrote.

    The committed results must be the same afterwards.
    """

    def folder():
        (written,) = {path.parent for path in tmp_path.rglob("results.json")}
        assert [each.name for each in tmp_path.iterdir()] == ["build"]
        return written.relative_to(tmp_path)

    monkeypatch.chdir(tmp_path)
    before = _contents(COMMITTED)
    yield folder
    assert _contents(COMMITTED) == before


def _contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
