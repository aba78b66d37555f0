"""The pages and the plots of a folder's rows."""

from pathlib import Path

from benchmarks import rows, setting
from benchmarks.steps import plots, report


def publish(folder: Path) -> str:
    """Write the pages and the plots, and return what to say."""
    found, settings = rows.read(folder), setting.read(folder)
    report.write(found, settings, plots.write(found, folder), folder)
    return report.table(found, settings)
