"""A headless Chromium for the tests of pages, and a log of all that a page must not do."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, sync_playwright

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """An installed Chromium or Chrome, else Playwright's own; without either the test is skipped and says so."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=next(filter(None, found), None), args=QUIET)
        except Error as error:
            pytest.skip(f"no Chromium to open pages in: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


class Watch:
    """What a page asked of other hosts and what it complained about."""

    def __init__(self, page: Page, own: str) -> None:
        self.own = own
        self.outside: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._request)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("requestfailed", lambda request: self.errors.append(f"failed: {request.url}"))

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.own, "blob:", "data:")):
            self.outside.append(request.url)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)


def move(slider: Any, position: float) -> None:
    """Put a slider at a share (0 to 1) of its way, as a drag does."""
    slider.evaluate(
        """(input, share) => {
            const [low, high] = [Number(input.min), Number(input.max)];
            input.value = Math.round(low + share * (high - low));
            input.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        position,
    )


ALIVE = """([traits, name]) => {
    for (const [name, value] of Object.entries(traits)) if (value?.base64)
        traits[name] = new DataView(Uint8Array.from(atob(value.base64), (c) => c.charCodeAt(0)).buffer);
    const heard = {};
    globalThis.model = {
        get: (name) => traits[name],
        set: (name, value) => { traits[name] = value; heard[`change:${name}`]?.forEach((hear) => hear()); },
        on: (event, hear) => { (heard[event] ??= []).push(hear); },
        save_changes: () => {},
    };
    document.body.innerHTML = "<div></div>";
    return Promise.resolve(globalThis[name].render({ model, el: document.body.firstChild })).then(() => null);
}"""


def show_widget(page: Page, widget: Any, name: str) -> None:
    """Draw a widget in a page that has its module as globalThis[name]; its model hears from nobody but the reader."""
    traits: dict[str, Any] = {"question": {}, "answer": {}}
    page.add_style_tag(content=widget._css)
    for trait, value in widget.trait_values(sync=True).items():
        if trait.startswith("_") or trait in ("layout", "tabbable", "tooltip", "question", "answer"):
            continue
        traits[trait] = {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
    page.evaluate(ALIVE, [json.loads(json.dumps(traits)), name])
    page.wait_for_timeout(60)
