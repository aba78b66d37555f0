"""`python docs/build.py`: build the documentation, strictly and offline, in build/site.

`--serve` shows it in a browser instead and follows changes, without formulas.
"""

import argparse
import html
import os
import re
import shutil
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import notebook

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "build" / "site-source"
SITE = ROOT / "build" / "site"
# The pages and all that they link to, in the folders of the repository, so that a link
# which works in a clone works on the site.
SHOWN = [
    "*.md",
    "LICENSE",
    "docs/**/*.md",
    "docs/*.css",
    "docs/**/*.png",
    "examples/*.py",
    "benchmarks/data/README.md",
    "benchmarks/results/*/README.md",
    "benchmarks/results/*/*.png",
]
PACKAGE = "keras_textbook_opt"
PUBLIC = (PACKAGE, f"{PACKAGE}.settings", f"{PACKAGE}.testing")
DOWNLOADS = (
    "Download [the notebook](chapter.ipynb) and [its data](boston_housing.csv) "
    "into one folder."
)


def main() -> int:
    """Build or serve; print the faults of the site, and return 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="show it in a browser")
    serve = parser.parse_args().serve
    name_addresses()
    assemble()
    if serve:
        return zensical("serve")
    shutil.rmtree(SITE, ignore_errors=True)
    if zensical("build", "--clean", "--strict"):
        return 1
    for page in SITE.rglob("*.html"):
        page.write_text(finished(page.read_text()))
    wrong = [*unlisted(), *undocumented()]
    wrong += [line for check in CHECKS for line in check(SITE)]
    print(*wrong, sep="\n")
    return bool(wrong)


def name_addresses() -> None:
    """Set the addresses of repository and site, which GitHub's workflows know."""
    if repository := os.environ.get("GITHUB_REPOSITORY"):
        owner, _, name = repository.partition("/")
        os.environ.setdefault("REPO_URL", f"https://github.com/{repository}")
        os.environ.setdefault("SITE_URL", f"https://{owner}.github.io/{name}/")


def assemble() -> None:
    """Link all that is shown into the folder that the site is built from."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    for file in (file for pattern in SHOWN for file in ROOT.glob(pattern)):
        link = SOURCE / file.relative_to(ROOT)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    chapter = SOURCE / "docs" / "chapter.md"
    chapter.unlink()
    title, _, text = notebook.PAGE.read_text().partition("\n")
    chapter.write_text(f"{title}\n\n{DOWNLOADS}\n{text}")
    notebook.write(chapter.parent)


TEX = re.compile(r'(<(div|span) class="arithmatex">)\\[\[(](.*?)\\[\])](</\2>)', re.S)
PICTURE = re.compile(r'<img alt="[^"]*" src="([^"]+\.png)"[^>]*>')


def finished(page: str) -> str:
    """Return a page with its formulas as MathML, and each picture a link to itself."""
    page = TEX.sub(lambda found: found[1] + mathml(found) + found[4], page)
    return PICTURE.sub(lambda found: f'<a href="{found[1]}">{found[0]}</a>', page)


def mathml(found: re.Match[str]) -> str:
    """Return a formula of TeX as MathML, which browsers show by themselves."""
    from latex2mathml.converter import convert

    display = "block" if found[2] == "div" else "inline"
    return convert(html.unescape(found[3]), display=display)


def zensical(command: str, *options: str) -> int:
    """Run it on this project; return its status."""
    run = [sys.executable, "-m", "zensical", command, *options]
    return subprocess.run(run, cwd=ROOT).returncode


def unlisted() -> list[str]:
    """Pages that are missing in the navigation."""
    nav = (ROOT / "mkdocs.yml").read_text()
    pages = [page.relative_to(ROOT).as_posix() for page in ROOT.glob("docs/**/*.md")]
    return [f"{page} is not in mkdocs.yml" for page in pages if f": {page}" not in nav]


def undocumented() -> list[str]:
    """Public names that are missing in the reference, or have no docstring."""
    import griffe

    shown = inventory((SITE / "objects.inv").read_bytes())
    package = griffe.load(PACKAGE, search_paths=[ROOT])
    names = [
        f"{module}.{name}"
        for module in PUBLIC
        for name in package.modules_collection[module].exports or ()
        if name != "__version__"
    ]
    return [f"{name} is not in the reference" for name in names if name not in shown]


def inventory(file: bytes) -> set[str]:
    """Names in an inventory in Sphinx's format: four lines, then zlib."""
    packed = file.split(b"\n", 4)[4]
    return {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}


FETCHING = {"audio", "embed", "iframe", "img", "link", "script", "source", "video"}
NOT_FETCHED = {"canonical", "next", "prev"}


class Resources(HTMLParser):
    """Addresses that a browser fetches by itself to show a page, and those of links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the address of a tag that has one."""
        has = dict(attrs)
        if tag == "a" and has.get("href"):
            self.links.append(has["href"] or "")
        if tag in FETCHING and has.get("rel") not in NOT_FETCHED:
            self.found += [has[name] or "" for name in ("src", "href") if has.get(name)]


def from_elsewhere(site: Path) -> list[str]:
    """Files that pages and styles fetch from another host."""
    wrong = []
    for file in sorted(site.rglob("*.html")):
        page = Resources()
        page.feed(file.read_text())
        wrong += [f"{file}: {url}" for url in page.found if is_elsewhere(url)]
    for file in sorted(site.rglob("*.css")):
        urls = re.findall(
            r"url\(['\"]?([^'\")]+)|@import ['\"]([^'\"]+)", file.read_text()
        )
        wrong += [f"{file}: {a or b}" for a, b in urls if is_elsewhere(a or b)]
    return wrong


def broken(site: Path) -> list[str]:
    """Links and pictures without a target on the site."""
    wrong, base = [], urlparse(os.environ.get("SITE_URL", "")).path
    for file in sorted(site.rglob("*.html")):
        page = Resources()
        page.feed(file.read_text())
        for url in [*page.found, *page.links]:
            path = unquote(url.partition("#")[0].partition("?")[0])
            inside = path.removeprefix(base).lstrip("/")
            target = site / inside if path.startswith("/") else file.parent / path
            if not re.match(r"\w+:|//", url) and not target.exists():
                wrong.append(f"{file}: {url} has no target")
    return wrong


def is_elsewhere(url: str) -> bool:
    """Whether an address names a host."""
    return bool(re.match(r"(https?:)?//", url))


def badly_rendered(site: Path) -> list[str]:
    """Text that a browser shows other than it was meant."""
    faults = {
        "`>>>` in a text": r"<(p|blockquote)>\s*&gt;&gt;&gt;|(<blockquote>\s*){3}",
        "a letter with a combining hat": "\u0302",
        "a formula in TeX": r'class="arithmatex">\\[\[(]',
    }
    in_reference = {"a quotation": "<blockquote>", "a numbered list": "<ol>"}
    wrong = []
    for page in sorted(site.rglob("*.html")):
        of_page = faults | (in_reference if "api" in page.parts else {})
        text = page.read_text()
        wrong += [f"{page}: {k}" for k, v in of_page.items() if re.search(v, text)]
    return wrong


def empty_sitemap(site: Path) -> list[str]:
    """A sitemap without addresses."""
    sitemap = site / "sitemap.xml"
    return [] if "<loc>" in sitemap.read_text() else [f"{sitemap}: no addresses"]


CHECKS = [from_elsewhere, broken, badly_rendered, empty_sitemap]

if __name__ == "__main__":
    sys.exit(main())
