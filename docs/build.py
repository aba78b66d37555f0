"""`python docs/build.py`: the documentation, built strictly and offline, in build/site.

`--serve` shows it instead, and shows again what changes.
"""

import argparse
import re
import shutil
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "build" / "site-source"
SITE = ROOT / "build" / "site"
# What the pages are made of and lead to, each where it is in the tree: a link that
# leads somewhere in a clone does so on the site.
SHOWN = [
    "*.md",
    "LICENSE",
    "docs/*.md",
    "docs/*.css",
    "docs/*.png",
    "examples/*.py",
    "benchmarks/workers/model.py",
    "benchmarks/data/README.md",
    "benchmarks/results/*/README.md",
    "benchmarks/results/*/*.png",
]
PACKAGE = "keras_textbook_opt"
PUBLIC = (PACKAGE, f"{PACKAGE}.callbacks", f"{PACKAGE}.testing")


def main() -> int:
    """Build or serve; print what is wrong with the site, and return 1 if anything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="show it, and its changes")
    serve = parser.parse_args().serve
    assemble()
    if serve:
        return zensical("serve")
    shutil.rmtree(SITE, ignore_errors=True)
    if zensical("build", "--clean", "--strict"):
        return 1
    wrong = [*unlisted(), *undocumented()]
    wrong += [line for check in CHECKS for line in check(SITE)]
    print(*wrong, sep="\n")
    return bool(wrong)


def assemble() -> None:
    """Link all that is shown into the folder that the site is built from."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    for file in (file for pattern in SHOWN for file in ROOT.glob(pattern)):
        link = SOURCE / file.relative_to(ROOT)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)


def zensical(command: str, *options: str) -> int:
    """Run it on this project; return its status."""
    run = [sys.executable, "-m", "zensical", command, *options]
    return subprocess.run(run, cwd=ROOT).returncode


def unlisted() -> list[str]:
    """Pages that nothing leads to from the list of pages."""
    nav = (ROOT / "mkdocs.yml").read_text()
    pages = [page.relative_to(ROOT).as_posix() for page in ROOT.glob("docs/*.md")]
    return [f"{page} is not in mkdocs.yml" for page in pages if f": {page}" not in nav]


def undocumented() -> list[str]:
    """Public names that the reference leaves out, as it does those without a text."""
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
    """The names in an inventory of Sphinx's form: four lines, then zlib."""
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
    """What pages and styles fetch from another place than the site itself."""
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
    """Links and pictures of pages that lead to no file of the site."""
    wrong = []
    for file in sorted(site.rglob("*.html")):
        page = Resources()
        page.feed(file.read_text())
        for url in [*page.found, *page.links]:
            path = unquote(url.partition("#")[0].partition("?")[0])
            target = site / path[1:] if path.startswith("/") else file.parent / path
            if not re.match(r"\w+:|//", url) and not target.exists():
                wrong.append(f"{file}: {url} leads nowhere")
    return wrong


def is_elsewhere(url: str) -> bool:
    """Whether an address names a host."""
    return bool(re.match(r"(https?:)?//", url))


def raw_examples(site: Path) -> list[str]:
    """Pages that show an example of a docstring as text: its section was not known."""
    prompt = re.compile(r"<(p|blockquote)>\s*&gt;&gt;&gt;|(<blockquote>\s*){3}")
    pages = sorted(site.rglob("*.html"))
    return [
        f"{page}: `>>>` in a text" for page in pages if prompt.search(page.read_text())
    ]


CHECKS = [from_elsewhere, broken, raw_examples]

if __name__ == "__main__":
    sys.exit(main())
