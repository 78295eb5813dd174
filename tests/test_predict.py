"""Predict first: the box below a question, its answers computed by the page, read by one small script."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from book import HTML, ROOT

SCRIPT = ROOT / "book" / "assets" / "predict.js"
STYLE = ROOT / "book" / "assets" / "book.css"
NUMBERED = sorted(
    path.stem
    for path in (ROOT / "book").glob("*.md")
    if re.search(r"^# \d+ · ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
)


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The HTML that ``predict`` puts into a page."""
    pytest.importorskip("myst_nb")
    monkeypatch.syspath_prepend(str(ROOT / "book"))
    import page

    shown: list[str] = []
    monkeypatch.setattr(page, "display", lambda html: shown.append(html.data))

    def html(*arguments: Any) -> str:
        page.predict(*arguments)
        return shown.pop()

    yield html
    sys.modules.pop("page")


def test_names_of_one_number_share_a_line_and_the_right_number_is_no_rival(box):
    html = box(
        154, {"float64": 155, "a tie away from zero": 155, "truncation": 153, "the tail": 154}, "A tie goes to even."
    )
    answers = re.findall(r"<p>(.*?)</p>", html)
    assert answers == [
        '<data class="right" value="154">154</data>. A tie goes to even. It is what the tail gives, too.',
        '<data value="155">155</data> is what float64 or a tie away from zero gives.',
        '<data value="153">153</data> is what truncation gives.',
    ]
    assert 'inputmode="numeric"' in html and 'inputmode="text"' in box(0, {"wrap": -2})


class Questions(HTMLParser):
    """The answers of each question in a page: the right one, and the others' numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[set[str], set[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("class") == "ql-predict":
            self.found.append((set(), set()))
        if tag == "data":
            self.found[-1][values.get("class") != "right"].add(str(values["value"]))


@pytest.mark.book
@pytest.mark.usefixtures("built_book")
@pytest.mark.parametrize("name", NUMBERED)
def test_each_chapter_asks_twice_and_can_name_a_wrong_answer(name):
    questions = Questions()
    questions.feed((HTML / "book" / f"{name}.html").read_text(encoding="utf-8"))
    assert len(questions.found) >= 2
    for right, others in questions.found:
        assert len(right) == 1 and others and not right & others


@pytest.mark.parametrize("name", NUMBERED)
def test_each_exercise_has_a_title_a_grade_and_a_hint(name):
    text = (ROOT / "book" / f"{name}.md").read_text(encoding="utf-8")
    exercises = re.findall(r"^`{3,}\{exercise-start\}(.*?)\{exercise-end\}", text, flags=re.MULTILINE | re.DOTALL)
    assert exercises
    for exercise in exercises:
        assert re.match(r" \S", exercise), f"no title: {exercise[:60]}"
        assert re.search(r"^:class: (warm-up|solid|hurts)$", exercise, flags=re.MULTILINE), f"no grade: {exercise[:60]}"
        assert "{hint}" in exercise, f"no hint: {exercise[:60]}"


@pytest.fixture
def asked(box, browser, tmp_path: Path):
    """A page with one question, opened from a file; reduced to what matters here."""
    question = box(-5, {"truncation": -4, "float64": 1000}, "A tie goes to <i>even</i>.")
    style = f'<link rel="stylesheet" href="{STYLE.as_uri()}"><script defer src="{SCRIPT.as_uri()}"></script>'
    path = tmp_path / "page.html"
    path.write_text(f'<!doctype html><meta charset="utf-8">{style}<article class="bd-article">{question}</article>')

    def open_page(**options: Any) -> Any:
        page = browser.new_page(**options)
        page.goto(path.as_uri())
        return page

    return open_page


@pytest.mark.browser
@pytest.mark.parametrize(
    ("typed", "kind", "said"),
    [
        ("-5", "right", "Right: -5. A tie goes to even."),
        (" −5 ", "right", "Right: -5. A tie goes to even."),
        ("-4", "wrong", "No. -4 is what truncation gives."),
        ("1,000", "wrong", "No. 1000 is what float64 gives."),
        ("7", "wrong", "No, and none of the arithmetics named here gives 7."),
        ("", "unclear", "An integer, please, such as 10."),
        ("4.5", "unclear", "An integer, please, such as 10."),
        ("<b>", "unclear", "An integer, please, such as 10."),
    ],
)
def test_the_box_says_whose_integer_it_is(asked, typed, kind, said):
    page = asked()
    page.keyboard.press("Tab")
    page.keyboard.insert_text(typed)
    page.keyboard.press("Enter")
    output = page.locator("output")
    assert (output.get_attribute("class"), output.inner_text()) == (kind, said)
    assert output.get_attribute("aria-live") == "polite"
    assert page.locator("details").get_attribute("open") is None, "the answer stays folded"
    page.close()


@pytest.mark.browser
def test_without_a_script_and_in_print_the_answer_is_there_and_no_dead_box(asked):
    page = asked(java_script_enabled=False)
    assert page.locator("form").is_hidden()
    assert page.get_by_text("Show the answer").is_visible()
    page.get_by_text("Show the answer").click()
    assert page.get_by_text("is what truncation gives").is_visible()
    page.close()
    page = asked()
    assert page.locator("form").is_visible()
    page.emulate_media(media="print")
    assert page.locator("form").is_hidden()
    page.close()


@pytest.mark.browser
def test_a_finger_finds_it(asked):
    page = asked(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    for name in ("input", "button", "summary"):
        assert page.locator(name).bounding_box()["height"] >= 44
    page.close()


@pytest.mark.browser
def test_the_box_takes_its_room_before_the_script_has_run(asked, browser):
    page = asked()
    arrived = page.locator(".ql-predict").bounding_box()
    address = page.url
    page.close()
    page = browser.new_page()
    page.route("**/predict.js", lambda route: route.abort())
    page.goto(address)
    assert page.locator("form").is_hidden()
    assert page.locator(".ql-predict").bounding_box() == arrived
    page.close()
