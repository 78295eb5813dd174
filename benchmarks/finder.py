"""Find my wrong integer in Chromium: how long a redraw takes after a keystroke or a step of a drag; a million rows."""

import json
import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from qlearn.runtimes import known
from qlearn.widgets import Finder

HOST = Path(__file__).parents[1] / "book" / "assets" / "widget-host.js"
FRAME = 16.0  # ms in which a redraw should be done
ROWS, LIMIT = 1_000_000, 3.0  # rows, and seconds for them
STEPS, AGAIN = 60, 5
TRAITS = ("_esm", "_css", "operator", "values", "yours", "many", "bits")
LAYER = {"sx": 0.02, "sw": 0.005, "bias": 0.1, "s": 0.1, "z": 60, "per_channel": False, "relu": False}
SUM = {"s1": 0.05, "z1": 100, "s2": 0.05, "z2": 100, "s": 0.1, "z": 128, "dtype": "quint8"}

# What an event costs: its listeners, the drawing in the next frame, and the layout of what was drawn.
COUNT = """() => {
    const next = requestAnimationFrame.bind(globalThis);
    globalThis.spent = 0;
    globalThis.requestAnimationFrame = (draw) => next((now) => {
        const since = performance.now();
        draw(now);
        document.body.offsetHeight;
        spent += performance.now() - since;
    });
    globalThis.timed = async (act) => {
        spent = 0;
        const since = performance.now();
        act();
        const handled = performance.now() - since;
        await new Promise((go) => { setTimeout(go, 40); });
        return handled + spent;
    };
}"""
DRAG = """async (share) => {
    const slider = document.querySelector(".ql-find-step input");
    const [low, high] = [Number(slider.min), Number(slider.max)];
    return timed(() => {
        slider.value = low + Math.round(share * (high - low));
        slider.dispatchEvent(new Event("input", { bubbles: true }));
    });
}"""
TYPE = """async (share) => {
    const field = document.querySelector(".ql-find-yours input");
    return timed(() => {
        field.value = String(Math.round(255 * share));
        field.dispatchEvent(new Event("input", { bubbles: true }));
    });
}"""
PASTE = """async (text) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", text);
    const since = performance.now();
    let [last, longest] = [since, 0];
    const event = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
    document.querySelector("textarea").dispatchEvent(event);
    while (document.querySelector(".ql-find-verdict").hidden) {
        await new Promise((go) => { requestAnimationFrame(go); });
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
    }
    return [(last - since) / 1000, longest];
}"""


@contextmanager
def pages() -> Iterator[Any]:
    """Opens a page of a finder alone: (width, traits) -> the page."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright, TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])

        def open_(width: int, **traits: Any) -> Any:
            state = {name: value for name, value in Finder(**traits).trait_values(sync=True).items() if name in TRAITS}
            embedded = json.dumps({"state": {"a": {"state": state}}}).replace("</", "<\\/")
            kind = "application/vnd.jupyter.widget"
            path = Path(folder) / "finder.html"
            path.write_text(
                f"<!doctype html><meta charset='utf-8'><body><script type='{kind}-state+json'>{embedded}</script>"
                f'<script type=\'{kind}-view+json\'>{{"model_id": "a"}}</script><script>{HOST.read_text()}</script>',
                encoding="utf-8",
            )
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.goto(path.as_uri())
            page.wait_for_selector('[data-widget="alive"]')
            page.evaluate(COUNT)
            return page

        yield open_
        browser.close()


def redraw(page: Any, event: str) -> tuple[float, float]:
    """Median and 95th percentile over the steps, ms; of each the fastest of a few, since others use the machine too."""
    times = [min(page.evaluate(event, i / STEPS) for _ in range(AGAIN)) for i in range(STEPS)]
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


def rows_of(operator: str) -> tuple[dict[str, Any], str]:
    """Parameters, and a million rows as text: inputs, and what PyTorch's last arithmetic gives."""
    rng = np.random.default_rng(0)
    p = SUM if operator == "add" else LAYER
    inputs = rng.integers(0, 256, (2, ROWS)) if operator == "add" else rng.integers(-40_000, 40_000, (1, ROWS))
    yours = known.arithmetics(operator, p)[-1].codes(*inputs)
    return p, "\n".join(",".join(map(str, row)) for row in np.stack([*inputs, yours], 1).tolist())


def run() -> None:
    """Print what each operator takes, at the two widths of the book's tests."""
    with pages() as open_:
        print(f"\n{'redraw, ms':<28}{'median':>10}{'p95':>8}   (at most {FRAME:.0f} are wanted)")
        for operator in known.OPERATORS:
            for width in (1280, 390):
                page = open_(width, operator=operator, yours=97.0)
                for name, event in (("drag", DRAG), ("key", TYPE)):
                    median, late = redraw(page, event)
                    print(f"{operator:<19}{width:>5} {name:<4}{median:>9.2f}{late:>8.2f}")
                page.close()
        print(f"\n{ROWS:,} pasted rows{'seconds':>22}{'longest frame, ms':>20}   (at most {LIMIT:.0f} s are wanted)")
        for operator in ("add", "requantize_conv"):
            p, text = rows_of(operator)
            page = open_(1280, operator=operator, values=p, many=True)
            seconds, longest = page.evaluate(PASTE, text)
            print(f"{operator:<32}{seconds:>9.2f}{longest:>20.0f}")
            page.close()
