"""The checks of the built documentation find its faults."""

import sys
import zlib

import pytest

from tests.processes import ROOT

sys.path.insert(0, str(ROOT / "docs"))
from docs import build  # which finds `notebook` there

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://cdn.example/a.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/b.css">',
        '<img src="http://pictures.example/c.png">',
    ],
)
def test_from_elsewhere_finds_files_of_another_host(tag, tmp_path):
    (tmp_path / "page.html").write_text(f"<html>{tag}</html>")
    assert len(build.from_elsewhere(tmp_path)) == 1


def test_from_elsewhere_reads_styles_and_ignores_links(tmp_path):
    imported = "@import 'https://fonts.example/a'; b { background: url(c.png) }"
    (tmp_path / "one.css").write_text(imported)
    (tmp_path / "page.html").write_text(
        '<a href="https://keras.io"></a><link rel="canonical" href="https://here">'
    )
    assert len(build.from_elsewhere(tmp_path)) == 1


def test_broken_finds_links_and_pictures_without_target(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "here.html").write_text(
        '<a href="docs/"></a><a href="#a"></a><a href="https://keras.io/no"></a>'
        '<a href="/docs/#b"></a><a href="gone.py"></a><img src="docs/gone.png">'
    )
    assert len(build.broken(tmp_path)) == 2


@pytest.mark.parametrize(
    ("page", "text", "faults"),
    [
        ("index.html", "<p>&gt;&gt;&gt; import keras</p>", 1),
        ("index.html", "<pre><code>&gt;&gt;&gt; import keras</code></pre>", 0),
        ("index.html", "<p>η\u0302</p>", 1),
        ("index.html", '<span class="arithmatex">\\(η\\)</span>', 1),
        ("index.html", "<ol><li>one</li></ol>", 0),
        ("api/sgd/index.html", "<ol><li>one</li></ol>", 1),
        ("api/sgd/index.html", "<blockquote>0</blockquote>", 1),
    ],
)
def test_badly_rendered_finds_text_that_is_shown_wrongly(page, text, faults, tmp_path):
    file = tmp_path / page
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    assert len(build.badly_rendered(tmp_path)) == faults


def test_finished_page_has_mathml_and_pictures_that_are_links():
    page = build.finished(
        '<div class="arithmatex">\\[a &lt; \\sqrt{b}\\]</div><img alt="" src="b.png">'
    )
    assert "<msqrt>" in page
    assert "\\[" not in page
    assert '<a href="b.png"><img' in page


def test_inventory_reads_the_names():
    names = "a.B py:class 1 api/#$ -\na.c py:function 1 api/#$ -\n"
    file = b"# 1\n# 2\n# 3\n# 4\n" + zlib.compress(names.encode())
    assert build.inventory(file) == {"a.B", "a.c"}


def test_every_page_is_in_the_navigation():
    assert build.unlisted() == []
