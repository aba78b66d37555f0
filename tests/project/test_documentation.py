"""Links, paths and commands on the pages exist, and every setting is described."""

import inspect
import re
from pathlib import Path

import pytest
from docstring_parser import google

import keras_textbook_opt
from keras_textbook_opt.settings import Settings
from tests.pages import PAGES
from tests.processes import ROOT

pytestmark = pytest.mark.once


def test_settings_describes_every_setting_and_no_other():
    docstring = google.GoogleParser().parse(inspect.cleandoc(Settings.__doc__ or ""))
    assert [each.arg_name for each in docstring.params] == [*Settings.__annotations__]


def headings(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ +(.*)$", page, re.M)
    words = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    return {word.strip().replace(" ", "-") for word in words}


def dangling(page: str, folder: Path) -> list[str]:
    """Links to files, headings and pictures in `folder` that do not exist."""
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)[^)]*\)", page):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = folder / path
        text = page if not path else ""
        if path.endswith(".md") and target.exists():
            text = target.read_text()
        if not target.exists() or (anchor and anchor not in headings(text)):
            wrong.append(link)
    return wrong


def missing_paths(page: str) -> list[str]:
    """Paths in `code` that begin with a folder of the repository and do not exist."""
    code = re.findall(r"`([\w.\-]+(?:/[\w.\-]+)+/?)`", page)
    rooted = [path for path in code if (ROOT / path.split("/")[0]).exists()]
    built = [path for path in rooted if path.startswith("build/")]
    return [path for path in rooted if path not in built and not (ROOT / path).exists()]


def unknown_targets(page: str) -> list[str]:
    """Targets of `make` on a page that the Makefile does not have."""
    known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    return [each for each in re.findall(r"`make ([a-z-]+)", page) if each not in known]


@pytest.mark.parametrize("name", PAGES)
def test_links_paths_and_commands_of_a_page_exist(name):
    page = (ROOT / name).read_text()
    assert dangling(page, (ROOT / name).parent) == []
    assert missing_paths(page) == []
    assert unknown_targets(page) == []


def test_citation_has_the_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {keras_textbook_opt.__version__}\n" in citation
