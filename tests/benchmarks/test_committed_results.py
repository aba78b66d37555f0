"""The committed results, their reports, and the pages that show them agree."""

import subprocess
import sys
from shutil import copy

import pytest

pytest.importorskip("cpuinfo")
pytest.importorskip("matplotlib")
pytest.importorskip("tabulate")

from benchmarks import readme, report, rows, setting
from benchmarks.__main__ import SUITES
from benchmarks.readme import RESULTS
from tests.processes import ROOT

pytestmark = pytest.mark.once

LARGEST = 100_000
REDRAW = """
import sys
from benchmarks.__main__ import main
main(["redraw", *sys.argv[1:]])
assert not {"keras", "tensorflow", "jax", "torch"} & sys.modules.keys()
"""


@pytest.mark.parametrize("page", readme.PAGES, ids=lambda page: page.name)
def test_a_page_shows_the_committed_results(page):
    """`python -m benchmarks readme` writes it."""
    written = page.read_text()
    assert readme.renewed(written) == written


@pytest.mark.parametrize("name", SUITES)
def test_a_report_is_drawn_from_its_rows_without_a_backend(name, tmp_path):
    for file in (rows.FILE, setting.FILE):
        copy(RESULTS / name / file, tmp_path)
    program = [sys.executable, "-c", REDRAW, name, "--output", str(tmp_path)]
    subprocess.run(program, cwd=ROOT, check=True)
    for file in (report.TABLE, report.REPORT):
        assert (tmp_path / file).read_text() == (RESULTS / name / file).read_text()
    committed = {file.name for file in (RESULTS / name).iterdir()}
    assert {file.name for file in tmp_path.iterdir()} == committed


def test_no_committed_file_but_pictures_is_large():
    files = [it for it in (ROOT / "benchmarks").rglob("*.*") if it.suffix != ".png"]
    assert not [file for file in files if file.stat().st_size > LARGEST]
