"""The chapter as a notebook: `python docs/notebook.py` runs it and renews its plots."""

import re
import shutil
import tempfile
from pathlib import Path

import jupytext
import nbformat

DOCS = Path(__file__).parent
PAGE = DOCS / "chapter.md"
PLOTS = DOCS / "chapter"
DATA = DOCS.parent / "benchmarks" / "data" / "boston_housing.csv"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebook() -> nbformat.NotebookNode:
    """Return the page as a notebook: without its pictures, which the cells draw."""
    text = re.sub(r"^!\[.*\]\(.*\)\n+", "", PAGE.read_text(), flags=re.M)
    text = re.sub(
        r"\[([^]]+)\]\([\w/-]+\.md\)", r"\1", text
    )  # there are no other pages
    made = jupytext.reads(text, "md")
    for number, cell in enumerate(made.cells):
        cell["id"] = f"cell-{number}"  # the same in every build
    made.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    return made


def write(folder: Path) -> None:
    """Write the notebook and its data into a folder."""
    nbformat.write(notebook(), folder / "chapter.ipynb")
    shutil.copy(DATA, folder)


def run(folder: Path) -> nbformat.NotebookNode:
    """Run the notebook in a folder, where it saves its plots, and return it."""
    import nbclient

    write(folder)
    made = nbformat.read(folder / "chapter.ipynb", as_version=4)
    where = {"metadata": {"path": str(folder)}}
    return nbclient.NotebookClient(made, timeout=600, resources=where).execute()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        run(Path(name))
        for plot in Path(name).glob("*.png"):
            shutil.copy(plot, PLOTS)
