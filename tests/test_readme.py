"""The README's tables and verdicts are those of the committed results."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"
PLOTTED = ["boston_housing", "precision", "steps"]
COMMANDS = [*PLOTTED, "workers"]


def test_every_benchmark_has_committed_results():
    assert sorted(path.parent.name for path in RESULTS.glob("*/table.md")) == COMMANDS


@pytest.mark.parametrize("command", ["boston_housing", "steps", "workers"])
def test_the_readme_holds_the_committed_table(command):
    assert (RESULTS / command / "table.md").read_text().strip() in README


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_leads_to_the_results(command):
    assert f"(benchmarks/results/{command}/)" in README


@pytest.mark.parametrize("command", PLOTTED)
def test_the_readme_shows_a_plot_of_the_results(command):
    assert f"(benchmarks/results/{command}/" in README.replace(f"{command}/)", "")


def test_the_readme_says_of_16_bits_what_was_measured():
    assert "within 5 % of the loss of float32" in README
    verdict = (RESULTS / "precision" / "README.md").read_text()
    assert "## Within 5 % of float32?\n\nYes. Of 12 combinations" in verdict
