"""The chapter's page and notebook run, and show what they say."""

import re
import sys

import nbformat
import numpy as np
import pytest

from tests.processes import ROOT

sys.path.insert(0, str(ROOT / "docs"))
import notebook

pytestmark = pytest.mark.once

PAGE = (ROOT / "docs" / "chapter.md").read_text()
PLOTS = set(re.findall(r"\]\(chapter/(\w+\.png)\)", PAGE))


@pytest.mark.long
def test_notebook_runs_and_draws_every_plot_of_the_page(tmp_path):
    made = notebook.run(tmp_path)
    nbformat.validate(made)
    assert {file.name for file in tmp_path.glob("*.png")} == PLOTS
    outputs = [output for cell in made.cells for output in cell.get("outputs", [])]
    drawn = [each for each in outputs if "image/png" in each.get("data", {})]
    assert len(drawn) == len(PLOTS)


def test_notebook_has_the_code_of_the_page():
    cells = [
        cell.source for cell in notebook.notebook().cells if cell.cell_type == "code"
    ]
    blocks = re.findall(r"^```python\n(.*?)\n```$", PAGE, re.M | re.S)
    assert [cell.strip() for cell in cells] == [block.strip() for block in blocks]


def test_table_holds_the_committed_results():
    """The rows are rounded to four digits."""
    pandas = pytest.importorskip("pandas")
    rows = pandas.read_csv(ROOT / "benchmarks" / "results" / "boston" / "results.csv")
    is_ours = (rows["case"] == "smallest test loss") & (rows["subject"] == "ours")
    committed = rows[is_ours][["value", "low", "high"]].to_numpy()
    pattern = r"^\| .+ \| [\d.]+ \| ([\d.]+) \(([\d.]+) … ([\d.]+)\) \|$"
    shown = np.array(re.findall(pattern, PAGE, re.M), float)
    np.testing.assert_allclose(shown, committed, rtol=1e-3)
