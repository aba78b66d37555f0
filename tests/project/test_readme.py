"""The figures and tables of the documents are those of the committed results."""

import re
from functools import partial

import pytest

pytest.importorskip("pandas")

from benchmarks import rows
from benchmarks.report import number
from benchmarks.rows import median
from tests.pages import PAGES
from tests.processes import ROOT

pytestmark = pytest.mark.once

README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"
TABLES = {
    "boston": "docs/chapter.md",
    "conformance": "docs/checks.md",
    "steps": "docs/performance.md",
    "workers": "docs/performance.md",
}
PLOTS = {
    "boston": "docs/chapter.md",
    "precision": "docs/sixteen-bits.md",
    "steps": "README.md",
}
RESULTS_OF = sorted({*TABLES, *PLOTS, "steps_h200"})


def test_every_benchmark_has_committed_results():
    written = sorted(path.parent.name for path in RESULTS.glob("*/table.md"))
    assert written == RESULTS_OF


@pytest.mark.parametrize("name", TABLES)
def test_a_page_holds_the_committed_table(name):
    table = (RESULTS / name / "table.md").read_text().strip()
    page = (ROOT / TABLES[name]).read_text()
    assert f"<!-- table {name} -->\n{table}\n<!-- end -->" in page


@pytest.mark.parametrize("name", RESULTS_OF)
def test_a_page_leads_to_the_results(name):
    pages = [(ROOT / page).read_text() for page in PAGES]
    assert any(f"benchmarks/results/{name}/README.md" in page for page in pages)


@pytest.mark.parametrize("name", PLOTS)
def test_a_page_shows_a_plot_of_the_results(name):
    page = (ROOT / PLOTS[name]).read_text()
    assert re.search(rf"!\[.+\]\(.*benchmarks/results/{name}/\w+\.png\)", page)


def test_the_readme_says_of_16_bits_what_was_measured():
    assert "within 5 % of the loss of float32" in README
    verdict = (RESULTS / "precision" / "README.md").read_text()
    assert "## Within 5 % of float32?\n\nYes. Of 12 combinations" in verdict


def test_the_readme_says_of_the_same_path_what_was_measured():
    (stated,) = re.findall(r"within (\S+) of the built-ins' losses", README)
    verdict = (RESULTS / "boston" / "README.md").read_text()
    assert f"differ by at most {stated} of their size" in verdict


def test_the_readme_says_of_speed_what_was_measured():
    (dense,) = re.findall(r"(\S+) times the built-in `Adam` on 20 million", README)
    (torch,) = re.findall(r"(\S+) times on PyTorch", README)
    (lazy,) = re.findall(r"and (\d+) times with lazy rows on a table", README)
    measured = partial(median, rows.read(RESULTS / "steps"), case="Adam")
    of_20_million = partial(measured, subject="built-in ÷ ours", size="1 of 20,000,000")
    assert number(of_20_million(part="dense", backend="tensorflow")) == dense
    assert number(of_20_million(part="dense", backend="torch")) == torch
    rows_ = measured(part="sparse", subject="built-in ÷ lazy", size="1,000,000 × 32")
    assert f"{rows_:.0f}" == lazy


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 130


def test_the_readme_says_of_the_checks_what_was_found():
    ((all_of_them, least, most),) = re.findall(
        r"(\d+) checks say [^;]*; Keras's own fail (\d+) to (\d+)", README
    )
    table = (RESULTS / "conformance" / "table.md").read_text()
    counts = re.findall(
        r"^\| (.+?): .*\| (\d+) +\| (\d+) +\| (\d+) +\| \d", table, re.M
    )
    assert {sum(map(int, row[1:])) for row in counts} == {int(all_of_them)}
    failed = [int(row[2]) for row in counts if row[0] == "keras.optimizers"]
    assert (min(failed), max(failed)) == (int(least), int(most))
