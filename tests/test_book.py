"""The built book: no warning, no broken link, no output that a reader should not see."""

import re
from collections import defaultdict
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from book import HTML, ROOT, chapters, pages

pytestmark = [pytest.mark.book, pytest.mark.usefixtures("built_book")]


class Outline(HTMLParser):
    """The ids and links of a page, and each text that a cell printed."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.printed: list[str] = []
        self._divs = 0  # how deep in a cell's output
        self._pre = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids |= {value for name in ("id", "name") if (value := values.get(name))}
        self.links += [value for name in ("href", "src") if (value := values.get(name))]
        if tag == "div" and (self._divs or "cell_output" in (values.get("class") or "").split()):
            self._divs += 1
        if tag == "pre" and self._divs:
            self._pre = True
            self.printed.append("")

    def handle_endtag(self, tag: str) -> None:
        self._divs -= bool(self._divs and tag == "div")
        self._pre = self._pre and tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._pre:
            self.printed[-1] += data


@cache
def outline(path: Path) -> Outline:
    found = Outline()
    found.feed(path.read_text(encoding="utf-8"))
    return found


def test_the_build_has_no_warning(built_book):
    assert not re.findall(r"^.*(?:WARNING|ERROR):.*$", built_book, flags=re.MULTILINE)


def test_no_broken_link():
    broken = defaultdict(list)
    for page in pages():
        for link in outline(page).links:
            if re.match(r"[a-z]+:|//", link):
                continue
            target, anchor = urldefrag(unquote(link))
            path = (page.parent / target.split("?")[0]).resolve() if target else page
            if not path.exists() or (anchor and path.suffix == ".html" and anchor not in outline(path).ids):
                broken[page.name].append(link)
    assert not broken


@pytest.mark.parametrize("name", chapters())
def test_outputs_are_what_a_reader_should_see(name):
    printed = outline(HTML / "book" / f"{name}.html").printed
    if "{solution-start}" in (ROOT / "book" / f"{name}.md").read_text(encoding="utf-8"):
        assert any("Yes: " in text for text in printed), "the exercises' solutions are checked"
    for text in printed:
        assert not re.search(r"Not yet:|Traceback|Warning|Error", text), text
        assert text.count("\n") <= 40, f"an output longer than a screen: {text[:200]}"


@pytest.mark.parametrize("name", chapters())
def test_a_chapter_can_be_launched_and_downloaded(name):
    links = outline(HTML / "book" / f"{name}.html").links
    assert any(re.fullmatch(rf"https://mybinder\.org/.*/book/{name}\.md", link) for link in links)
    assert any(link.endswith(f"{name}.ipynb") for link in links)


@pytest.mark.parametrize("name", chapters())
def test_chapters_hold_no_stored_outputs(name):
    source = (ROOT / "book" / f"{name}.md").read_text(encoding="utf-8")
    assert source.startswith("---\njupytext:")
    assert "{code-cell} python" in source
