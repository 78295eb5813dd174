"""The weave of the first page: its dots, its steps and its ways to walk, against PyTorch's recorded sums."""

import numpy as np
import pytest
import traitlets

import recorded
from browser import show_widget
from qlearn.codes.rounding import fma, reciprocal
from qlearn.widgets import Weave
from qlearn.widgets.base import module
from qlearn.widgets.weave import recorded_sums

SOURCE = module("weave.js").replace("export default", "globalThis.weave =")
BAND = {"rows": [72, 96], "columns": [64, 128]}
AT = """async (pairs) => {
    const found = [];
    for (const [q1, q2] of pairs) {
        model.set("q1", q1);
        model.set("q2", q2);
        await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
        const cells = [...document.querySelectorAll(".ql-pair tr")].map((row) => row.lastChild.textContent);
        const parts = [...document.querySelectorAll(".ql-parts th span")].map((name) => name.textContent);
        found.push([cells, parts, document.querySelector(".ql-words").innerText]);
    }
    return found;
}"""
DOTS = """() => {
    const canvas = document.querySelector("canvas");
    const { width, height } = canvas;
    const [[, rows], [, columns]] = [model.get("rows"), model.get("columns")];
    const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    const found = [];
    for (let i = 0; i < rows; i += 1) for (let j = 0; j < columns; j += 1) {
        const at = 4 * (Math.floor((i + 0.5) * height / rows) * width + Math.floor((j + 0.5) * width / columns));
        found.push(pixels[at + 3] < 128 ? 0 : pixels[at] > pixels[at + 2] ? 1 : -1);
    }
    return found;
}"""


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 720, "height": 800}, has_touch=True)
    page.add_script_tag(content=f"{SOURCE}; Object.assign(globalThis, {{ nearest, along, alike }})", type="module")
    page.wait_for_function("'alike' in globalThis")
    yield page
    page.close()


@pytest.fixture
def alive(page):
    show_widget(page, Weave(**BAND, q1=115, q2=136), "weave")
    return page


def paper_steps(q1, q2):
    """[a, b, sum, in steps, code] in float64."""
    (s1, z1), (s2, z2), (s, z) = recorded_sums()[0]
    a, b = s1 * (q1 - z1), s2 * (q2 - z2)
    return [a, b, a + b, (a + b) / s, int(np.clip(np.rint((a + b) / s) + z, 0, 255))]


def pytorch_steps(q1, q2):
    """The same in PyTorch's vector body, float32."""
    (s1, z1), (s2, z2), (s, z) = recorded_sums()[0]
    f = np.float32
    a, b = (fma(f(scale), f(q), f(scale) * f(-zero)) for scale, zero, q in ((s1, z1, q1), (s2, z2, q2)))
    steps = (a + b) * reciprocal(s)
    return [a, b, a + b, steps, int(np.clip(np.rint(steps) + z, 0, 255))]


def differences():
    """PyTorch's code less the formula's, (256, 256)."""
    (s1, z1), (s2, z2), (s, z) = recorded_sums()[0]
    q1, q2 = np.arange(256)[:, None], np.arange(256)
    paper = np.clip(np.rint((s1 * (q1 - z1) + s2 * (q2 - z2)) / s) + z, 0, 255)
    return (recorded_sums()[1] - paper).astype(int)


def codes(page):
    page.wait_for_timeout(60)
    return page.evaluate("['q1', 'q2'].map((name) => model.get(name))")


def number(text):
    return float(text.replace("−", "-"))


@pytest.mark.parametrize("source", recorded.sources("elementwise"), ids=str)
def test_the_sums_are_those_of_every_release(source):
    """In vector bodies of AVX2 and AVX512, and of DEFAULT; in tails, too, but for 2.13."""
    sums = recorded_sums()[1]
    same = {path: np.array_equal(source.arrays[f"add/0/{path}"], sums) for path in ("body", "tail")}
    first = source.release.startswith("2.13.")
    assert same == {"body": not (first and source.kind == "default"), "tail": not first}


@pytest.mark.browser
def test_every_dot_is_a_difference_and_every_difference_a_dot(alive):
    shown = differences()[72:168, 64:192]
    assert np.count_nonzero(shown > 0) > 500 and np.count_nonzero(shown < 0) > 500
    np.testing.assert_array_equal(np.reshape(alive.evaluate(DOTS), shown.shape), shown)


@pytest.mark.browser
def test_both_computations_number_by_number(alive, rng):
    """At dots and elsewhere: each number that is shown is the one that is computed, and they part where they do."""
    differ = differences()
    dots = rng.permutation(np.argwhere(differ != 0))[:60].tolist()
    pairs = dots + rng.integers(0, 256, (20, 2)).tolist()
    seen = set()
    for (q1, q2), (cells, parts, words) in zip(pairs, alive.evaluate(AT, pairs), strict=True):
        paper, theirs = paper_steps(q1, q2), pytorch_steps(q1, q2)
        assert [number(text) for text in cells[0::2]] == paper
        assert [np.float32(number(text)) for text in cells[1::2]] == theirs
        assert theirs[-1] == recorded_sums()[1][q1, q2]
        if paper[-1] == theirs[-1]:
            assert parts == [] and words == f"Both give {paper[-1]}.\nCodes {q1} and {q2} do not part."
            continue
        assert words.startswith(f"The formula gives {paper[-1]}, PyTorch {theirs[-1]}.\nCodes {q1} and {q2} part at ")
        (name,) = parts
        at = ["a", "b", "a + b", "in steps", "rounded"].index(name)
        assert np.float32(paper[at]) != theirs[at]  # these differ, and so does all that comes of them
        assert all(np.float32(paper[k]) != theirs[k] for k in range(max(at, 2), 5))
        seen.add(name)
    assert len(seen) > 1


@pytest.mark.browser
def test_pointer_keys_and_sliders(alive):
    differ = differences()
    canvas = alive.locator("canvas").bounding_box()
    cell = canvas["width"] / 128

    def place(q1, q2):
        return canvas["x"] + (q2 - 64 + 0.5) * cell, canvas["y"] + (q1 - 72 + 0.5) * cell

    dots = np.argwhere(differ[80:160, 70:180]) + np.array([80, 70])
    q1, q2 = dots[len(dots) // 2].tolist()
    alive.mouse.move(*place(q1, q2))
    assert codes(alive) == [q1, q2]
    i, j = (np.argwhere(differ[80:160, 70:180] == 0)[1000] + np.array([80, 70])).tolist()
    alive.touchscreen.tap(*place(i, j))
    assert differ[tuple(codes(alive))] != 0  # the nearest dot
    alive.evaluate("([q1, q2]) => { model.set('q1', q1); model.set('q2', q2); }", [q1, q2])
    alive.locator(".ql-picture").focus()
    alive.keyboard.press("ArrowRight")
    right = q2 + 1 + int(np.flatnonzero(differ[q1, q2 + 1 :])[0])
    assert codes(alive) == [q1, right]
    alive.keyboard.press("ArrowUp")
    above = int(np.flatnonzero(differ[:q1, right])[-1])
    assert codes(alive) == [above, right]
    alive.keyboard.press("Shift+ArrowDown")
    alive.keyboard.press("Shift+ArrowLeft")
    assert codes(alive) == [above + 1, right - 1]
    alive.get_by_label("a’s code").fill("0")
    assert codes(alive) == [0, right - 1]
    texts = alive.locator(".ql-picture text").all_text_contents()
    assert "0" in texts and "72" not in texts  # the picture has followed


@pytest.mark.browser
def test_the_nearest_dot_and_the_next_one(page):
    found = page.evaluate("""() => {
        const differ = new Int8Array(65536);
        for (const [q1, q2] of [[10, 10], [10, 20], [12, 11], [255, 255]]) differ[256 * q1 + q2] = 1;
        const near = [[10, 11], [12, 12], [100, 100], [254, 253], [7, 10], [8, 7]];
        const next = [[10, 10, 0, 1], [10, 10, 0, -1], [10, 10, 1, 0], [0, 20, 1, 0]];
        return [...near.map((at) => nearest(differ, ...at, 3)), ...next.map((way) => along(differ, ...way)),
            alike("−0.65", "−0.650000036"), alike("126", "125"), alike("1", "1")];
    }""")
    assert found[:6] == [[10, 10], [12, 11], [100, 100], [255, 255], [10, 10], [8, 7]]
    assert found[6:] == [[10, 20], [10, 10], [10, 10], [10, 20], 5, 2, 1]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("q1", 256, "q1 must be 0 to 255"),
        ("q2", -1, "q2 must be 0 to 255"),
        ("rows", [200, 57], "rows must be a first code and a count within 256"),
        ("rows", [5], "rows must be"),
        ("columns", [0, 0], "columns must be"),
        ("columns", [-1, 5], "columns must be"),
    ],
)
def test_a_state_that_is_not_there_is_refused(name, value, words):
    with pytest.raises(traitlets.TraitError, match=words):
        Weave(**{name: value})


@pytest.mark.torch
def test_the_running_pytorch_says_what_is_recorded_of_it(rng):
    pytest.importorskip("torch")
    weave, sums = Weave(), recorded_sums()[1]
    for i, (q1, q2) in enumerate(rng.integers(0, 256, (20, 2)).tolist()):
        weave.question = {"id": 1 + i, "codes": [q1, q2]}
        assert weave.answer["id"] == 1 + i
        if weave.answer["capability"] != "DEFAULT":
            assert weave.answer["body"] == sums[q1, q2]
