"""The checks of the built documentation see what is wrong with it."""

import runpy
import zlib

import pytest

from tests.processes import ROOT

pytestmark = pytest.mark.once

BUILD = runpy.run_path(str(ROOT / "docs" / "build.py"), run_name="build")


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://cdn.example/a.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/b.css">',
        '<link href="https://fonts.example" rel="preconnect">',
        '<img src="http://pictures.example/c.png">',
        '<iframe src="https://video.example/d"></iframe>',
    ],
)
def test_what_a_page_fetches_from_elsewhere_is_seen(tag, tmp_path):
    (tmp_path / "page.html").write_text(f"<html>{tag}</html>")
    assert len(BUILD["from_elsewhere"](tmp_path)) == 1


def test_what_a_style_fetches_from_elsewhere_is_seen(tmp_path):
    imported = "@import 'https://fonts.example/a'; b { background: url(c.png) }"
    (tmp_path / "one.css").write_text(imported)
    (tmp_path / "two.css").write_text('b { background: url("//pictures.example/c") }')
    assert len(BUILD["from_elsewhere"](tmp_path)) == 2


def test_links_and_files_of_the_site_itself_are_left_alone(tmp_path):
    (tmp_path / "page.html").write_text(
        '<a href="https://keras.io"></a><link rel="canonical" href="https://here">'
        '<link rel="stylesheet" href="../a.css"><script src="b.js"></script>'
    )
    (tmp_path / "a.css").write_text("b { background: url(data:image/png;base64,AA) }")
    assert BUILD["from_elsewhere"](tmp_path) == []


def test_a_link_that_leads_nowhere_is_seen(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "here.html").write_text(
        '<a href="docs/"></a><a href="#a"></a><a href="https://keras.io/no"></a>'
        '<a href="/docs/#b"></a><a href="mailto:a@b"></a>'
        '<a href="gone.py"></a><img src="docs/gone.png"><a href="/gone"></a>'
    )
    assert len(BUILD["broken"](tmp_path)) == 3


@pytest.mark.parametrize(
    ("html", "count"),
    [
        ("<p>&gt;&gt;&gt; import keras</p>", 1),
        ("<blockquote>\n<blockquote>\n<blockquote>\n<p>import keras", 1),
        ("<pre><code>&gt;&gt;&gt; import keras</code></pre>", 0),
    ],
)
def test_an_example_that_is_shown_as_text_is_seen(html, count, tmp_path):
    (tmp_path / "page.html").write_text(html)
    assert len(BUILD["raw_examples"](tmp_path)) == count


def test_the_names_of_an_inventory_are_read():
    names = "a.B py:class 1 api/#$ -\na.c py:function 1 api/#$ -\n"
    file = b"# 1\n# 2\n# 3\n# 4\n" + zlib.compress(names.encode())
    assert BUILD["inventory"](file) == {"a.B", "a.c"}


def test_every_page_is_in_the_list_of_pages():
    assert BUILD["unlisted"]() == []
