"""The first page as it opens: what stands in the first screen, that nothing jumps, and what it says of the edition."""

import re
import tomllib

import pytest

import book
from qlearn.machine import _cpu

yaml = pytest.importorskip("yaml")
CLIPPED = """() => [...document.querySelectorAll("pre")]
    .filter((pre) => pre.scrollWidth > pre.clientWidth).map((pre) => pre.innerText)"""
SCREENS = [(1280, 800), (390, 844)]
built = [pytest.mark.browser, pytest.mark.usefixtures("built_book")]


def cited():
    return yaml.safe_load((book.ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_citation_is_of_this_version():
    project = tomllib.loads((book.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    about = cited()
    assert about["version"] == project["version"]
    assert str(about["date-released"]).startswith("20") and about["authors"] and about["cff-version"] == "1.2.0"


@pytest.fixture
def page(request, browser, site):
    width, height = request.param
    page = browser.new_page(viewport={"width": width, "height": height}, has_touch=width < 500)
    page.goto(f"{site}/book/index.html")
    page.wait_for_selector('[data-widget="alive"]')
    page.wait_for_timeout(100)
    yield page
    page.close()


class TestAsItOpens:
    pytestmark = built

    @pytest.mark.skipif(not _cpu.is_x86(), reason="a note stands above the picture where the CPU is no x86-64")
    @pytest.mark.parametrize("page", SCREENS, indirect=True)
    def test_the_first_screen_holds_the_picture_and_both_computations(self, page):
        height = page.viewport_size["height"]
        for name in (".ql-picture", "p.ql-words", ".ql-pair"):
            box = page.locator(name).first.bounding_box()
            assert box["y"] > 0 and box["y"] + box["height"] <= height, name
        canvas = page.locator(".ql-stack canvas").bounding_box()
        before = page.locator("p.ql-words").inner_text()
        x, y = canvas["x"] + canvas["width"] * 0.8, canvas["y"] + canvas["height"] * 0.2
        if page.viewport_size["width"] < 500:
            page.touchscreen.tap(x, y)
        else:
            page.mouse.move(x, y)
            doors = page.locator(".ql-doors").bounding_box()
            assert doors["y"] + doors["height"] <= height
        page.wait_for_timeout(60)
        assert page.locator("p.ql-words").inner_text() != before
        assert "The formula gives" in page.locator("p.ql-words").inner_text()

    @pytest.mark.parametrize("page", [*SCREENS, (640, 900), (820, 1100)], indirect=True)
    def test_a_still_picture_keeps_the_place(self, page, browser, site):
        """Without JavaScript it stands there with its words; with it, the figure that comes is as large."""
        size = page.viewport_size
        context = browser.new_context(viewport=size, java_script_enabled=False)
        still = context.new_page()
        still.goto(f"{site}/book/index.html")
        picture = still.locator(".ql-stand-in")
        assert picture.locator("svg").is_visible() and re.search(
            r"the formula gives \d+, PyTorch", picture.inner_text()
        )
        one, other = picture.bounding_box(), page.locator(".ql-widget").bounding_box()
        assert all(abs(one[key] - other[key]) < 1 for key in ("x", "y", "width", "height")), (one, other)
        below = (at.locator(".ql-doors").bounding_box()["y"] for at in (still, page))
        assert abs(next(below) - next(below)) < 1
        assert not page.locator(".ql-stand-in").is_visible()
        context.close()

    @pytest.mark.parametrize("page", SCREENS, indirect=True)
    def test_no_code_is_clipped(self, page):
        assert page.evaluate(CLIPPED) == []

    @pytest.mark.parametrize("page", SCREENS[:1], indirect=True)
    def test_doors_and_edition(self, page):
        doors = page.locator(".ql-doors a").evaluate_all("(all) => all.map((a) => a.getAttribute('href'))")
        assert doors == ["finder.html", "question.html", "cheatsheet.html"]
        text, about = page.locator("article").inner_text(), cited()
        for said in (
            "1.13 to 2.15",
            "x86-64",
            "fbgemm, x86, onednn and qnnpack",
            about["version"],
            about["date-released"],
        ):
            assert said in text
        assert f"url = {{{about['repository-code']}}}" in text
        assert "9396 of 65536" in text and "9,396 of the 65,536 pairs" in text
