"""The figures on the pages are those of the committed results."""

import re

import pytest

from tests.processes import ROOT

pytestmark = pytest.mark.once

RESULTS = ROOT / "benchmarks" / "results"


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_16_bits_train_as_well_as_the_pages_say():
    for name in ("README.md", "docs/sixteen-bits.md"):
        assert "5 % of the loss of" in " ".join((ROOT / name).read_text().split())
    results = (RESULTS / "precision" / "README.md").read_text()
    assert "## Within 5 % of float32?\n\nYes. Of 12 combinations" in results


def test_paths_agree_as_closely_as_the_page_says():
    page = (ROOT / "docs" / "limitations.md").read_text()
    (stated,) = re.findall(r"agree to (\S+)·10⁻¹⁴", page)
    results = (RESULTS / "boston" / "README.md").read_text()
    assert f"differ by at most {stated}e-14 of their size" in results
