"""Each page as a reader opens it: in a browser, over http and from a file, wide and narrow, light and dark."""

import pytest

import book
from browser import Watch, move

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("built_book")]

PAGES = sorted(path.stem for path in (book.ROOT / "book").glob("*.md"))
OUTSIDE = """(texts, width) => texts
    .filter((text) => [...text.getClientRects()].some((box) => box.left < -1 || box.right > width + 1))
    .map((text) => text.outerHTML)"""
LIVE = [name for name in book.chapters() if "qlearn.widgets" in (book.ROOT / "book" / f"{name}.md").read_text()]


def address(scheme, name, request):
    own = request.getfixturevalue("site") if scheme == "http" else book.HTML.as_uri()
    return own, f"{own}/book/{name}.html"


@pytest.mark.parametrize("scheme", ["http", "file"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_no_other_host_and_logs_no_error(scheme, name, browser, request):
    own, url = address(scheme, name, request)
    page = browser.new_page()
    watch = Watch(page, own)
    page.goto(url)
    page.wait_for_load_state("networkidle")
    assert not watch.outside
    assert not watch.errors
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_window(name, width, theme, browser, site):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    page.goto(f"{site}/book/{name}.html")
    if name in LIVE:
        page.wait_for_selector('[data-widget="alive"]')
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".ql-picture text").evaluate_all(OUTSIDE, width) == []
    page.close()


# Once what was asked for is drawn, and heard of: a frame, and one more, however long they take.
DRAWN = """() => new Promise((go) => {
    setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(go))), 60);
})"""


@pytest.mark.parametrize("scheme", ["http", "file"])
@pytest.mark.parametrize("name", LIVE)
def test_each_slider_changes_the_picture_and_the_words(scheme, name, browser, request):
    own, url = address(scheme, name, request)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    watch = Watch(page, own)
    page.goto(url)
    page.wait_for_selector('[data-widget="alive"]')
    widget = page.locator(".ql-widget").first
    assert widget.locator("input[type=range]").count() > 0
    for slider in widget.locator("input[type=range]").all():
        seen = set()
        for position in (0.1, 0.9, 0.45):
            move(slider, position)
            page.evaluate(DRAWN)
            seen.add(widget.locator(".ql-picture").first.inner_html() + widget.locator(".ql-words").inner_text())
        assert len(seen) == 3, slider.evaluate("input => input.labels[0].textContent")
    assert not watch.errors
    page.close()


@pytest.mark.parametrize("name", LIVE)
def test_a_slider_moves_by_the_keyboard_too(name, browser, site):
    page = browser.new_page()
    page.goto(f"{site}/book/{name}.html")
    page.wait_for_selector('[data-widget="alive"]')
    slider = page.locator(".ql-widget input[type=range]").first
    words = page.locator(".ql-words").first
    before = words.inner_text()
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.evaluate(DRAWN)
    assert words.inner_text() != before
    page.close()
