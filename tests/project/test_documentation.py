"""What the documents say is there, and the docstrings say what they must."""

import ast
import doctest
import inspect
import itertools
import re
from pathlib import Path

import pytest
from docstring_parser import Docstring, google

import keras_textbook_opt
from keras_textbook_opt import TextbookOptimizer
from tests.pages import PAGES
from tests.processes import ROOT

pytestmark = pytest.mark.once

PUBLIC = [getattr(keras_textbook_opt, name) for name in keras_textbook_opt.__all__]
CLASSES = [each for each in PUBLIC if inspect.isclass(each)]
FILES = sorted(Path(keras_textbook_opt.__file__).parent.rglob("*.py"))
of_every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


REFERENCE = google.Section("Reference", "reference", google.SectionType.SINGULAR)
PARSER = google.GoogleParser([*google.DEFAULT_SECTIONS, REFERENCE])


def parsed(cls) -> Docstring:
    return PARSER.parse(inspect.cleandoc(cls.__doc__))


def members(cls):
    """The public methods and properties that the package writes for `cls`."""
    for name, member in inspect.getmembers(cls):
        function = getattr(member, "fget", member)
        origin = getattr(function, "__module__", None) or ""
        if origin.startswith("keras_textbook_opt.") and not name.startswith("_"):
            yield name, member


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_module_says_what_it_is(file):
    source = file.read_text()
    assert source == "" or ast.get_docstring(ast.parse(source))


@of_every_class
def test_every_public_member_has_a_docstring(cls):
    documented = {name: inspect.getdoc(member) for name, member in members(cls)}
    assert documented.keys() >= {"apply_dense", "apply_sparse", "get_config", "build"}
    assert [name for name, docstring in documented.items() if not docstring] == []


@of_every_class
def test_a_docstring_is_a_sentence_the_equation_and_the_sections_in_order(cls):
    docstring = parsed(cls)
    sentence, equation = docstring.short_description, docstring.long_description
    assert sentence and sentence.endswith(".") and len(sentence.splitlines()) == 1
    assert equation and "←" in equation
    sections = [
        name for name, _ in itertools.groupby(m.args[0] for m in docstring.meta)
    ]
    expected = ["param", "raises", "examples", "reference"]
    assert sections == (expected[:-1] if cls is TextbookOptimizer else expected)
    assert all(section.description for section in docstring.meta)


def test_the_base_describes_every_setting_and_no_other():
    """It takes them by name, which no linter sees; pydoclint sees the others' own."""
    described = [each.arg_name for each in parsed(TextbookOptimizer).params]
    assert described == [*inspect.signature(TextbookOptimizer).parameters]


@of_every_class
def test_raises_names_the_error_of_a_bad_argument(cls):
    assert "ValueError" in [each.type_name for each in parsed(cls).raises]
    if not inspect.isabstract(cls):
        with pytest.raises(ValueError):
            cls(learning_rate=-1.0)


@of_every_class
def test_every_public_class_has_an_example_that_shows_what_it_does(cls):
    """pytest runs it: `--doctest-modules`."""
    finder = doctest.DocTestFinder(exclude_empty=True, recurse=False)
    (test,) = finder.find(cls, cls.__name__)
    assert any(example.want for example in test.examples)


def headings(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ +(.*)$", page, re.M)
    words = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    return {word.strip().replace(" ", "-") for word in words}


def dangling(page: str, folder: Path) -> list[str]:
    """Links to files, headings and pictures of `folder` that lead nowhere."""
    links = re.findall(r"\]\(([^)\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"", page)
    wrong = []
    for link in (markdown or html for markdown, html in links):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = folder / path
        if path and not target.exists():
            wrong.append(link)
        elif anchor:
            text = target.read_text() if path else page
            wrong += [] if anchor in headings(text) else [link]
    return wrong


def missing_paths(page: str, folder: Path) -> list[str]:
    """Paths in `code` whose first part is in `folder` and whose rest is not.

    But for what is built, of which all, some or nothing may be there.
    """
    code = re.findall(r"`([\w.\-]+(?:/[\w.\-]+)*/?)`", page)
    rooted = [path for path in code if (folder / path.split("/")[0]).exists()]
    rooted = [path for path in rooted if not path.startswith("build/")]
    return [path for path in rooted if not (folder / path).exists()]


def unknown_targets(page: str, makefile: str) -> list[str]:
    """What a page tells to `make` and the Makefile does not know."""
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    told = re.findall(r"(?:`|^|\$ )make ([a-z-]+)", page, re.M)
    return [target for target in told if target not in targets]


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_points_to_exists(name):
    page = (ROOT / name).read_text()
    assert dangling(page, (ROOT / name).parent) == []
    assert missing_paths(page, ROOT) == []
    assert unknown_targets(page, (ROOT / "Makefile").read_text()) == []


def test_the_checker_of_links_sees_what_leads_nowhere(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# A title: `x`\n")
    page = """
# Here
[a](docs/a.md) [b](docs/b.md) [web](https://example.org/no) [here](#here)
[there](#there) [title](docs/a.md#a-title-x) [no](docs/a.md#b) ![picture](c.png)
<img src="d.png"> `docs/a.md` `docs/e.md` `m/v` `make test` `make tea`
"""
    links = ["docs/b.md", "#there", "docs/a.md#b", "c.png", "d.png"]
    assert dangling(page, tmp_path) == links
    assert missing_paths(page, tmp_path) == ["docs/e.md"]
    assert unknown_targets(page, "test: venv\n") == ["tea"]


def test_the_citation_names_this_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {keras_textbook_opt.__version__}\n" in citation


def test_the_changelog_has_room_for_what_is_not_released():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[?Unreleased\]?$", changelog, re.M)
