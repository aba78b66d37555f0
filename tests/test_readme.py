"""The README's tables are those of the committed results, to the letter."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TABLES = sorted((ROOT / "benchmarks" / "results").glob("*/table.md"))


def test_every_benchmark_has_committed_results():
    assert {path.parent.name for path in TABLES} == {
        "boston_housing",
        "precision",
        "steps",
    }


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.parent.name)
def test_the_readme_holds_the_committed_table(path):
    assert path.read_text().strip() in README


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.parent.name)
def test_the_readme_leads_to_the_results(path):
    assert f"({path.parent.relative_to(ROOT)}/" in README
