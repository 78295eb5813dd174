"""A headless Chromium for the tests of pages, and a log of all that a page must not do."""

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
