"""The line in JavaScript, against PyTorch's recorded steps and the library's forms of them (Chapter 9)."""

import numpy as np
import pytest
import traitlets

import javascript
from browser import show_widget
from qlearn import recordings
from qlearn.integers import Line, LineLate, Steps, Thresholds, Unproven, prove, spread, step_of
from qlearn.layers import requantize
from qlearn.widgets import PixelLine
from qlearn.widgets.base import module
from qlearn.widgets.integers import HIGH, LANES, LAYERS, SHIFTS, inputs

FORMULAS = ("fbgemm", "onednn_vnni", "onednn_avx2", "qnnpack")
ASKED = """import { bounds, fit, judge, leastShift, sentence, thinnest } from "./integers.js";
const answer = (layers) => layers.map(({ first, low, high }) => {
    const found = bounds(first, low, high);
    const { x, R } = thinnest(found);
    const least = [0, 1].map((late) => leastShift(found, x, late));
    const lines = [0, 1].map((late) => Array.from({ length: SHIFTS }, (_, S) => {
        const line = { ...fit(found, x, S, late), S };
        const { lates, failing, code, right } = judge(found, line, late);
        const points = first.flatMap((T) => [T - 1, T]).concat(low, high).filter((acc) => acc >= low && acc <= high);
        return { ...line, lates, failing, wrong: points.filter((acc) => code(acc) !== right(acc)).length };
    }));
    return { R, least, lines };
});"""
SOURCE = module("integers.js").replace("export default", "globalThis.line_widget =")


@pytest.fixture(scope="module")
def presets():
    """What the figure shows: (layer, lane), the thresholds, and the ends of the range."""
    kept = recordings.load("integers")
    return [
        (layer, lane, kept[f"avx2/{lane}"][i].astype(np.int64), layer[5], layer[6])
        for i, layer in enumerate(LAYERS)
        for lane in LANES
    ]


@pytest.fixture(scope="module")
def found(presets, tmp_path_factory):
    question = [{"first": first.tolist(), "low": low, "high": high} for _, _, first, low, high in presets]
    source = ASKED.replace("SHIFTS", str(SHIFTS + 1))
    return javascript.run(source, question, tmp_path_factory.mktemp("line"))


def step(first):
    return lambda acc: np.searchsorted(first, acc, side="right")


def test_the_recorded_steps_are_those_of_the_formulas(presets):
    for layer, lane, first, low, high in presets:
        sx, sw, b, s, z, *_ = layer
        formula = getattr(requantize, FORMULAS[LANES.index(lane)])
        acc = np.unique(np.clip([first - 1, first], low, high))
        w = requantize.onednn_linear_scale(np.float64(sw)) if lane.startswith("onednn") else np.float64(sw)
        codes = formula(acc[:, None], np.float32([b]), sx, w, s, z, relu=False)[:, 0]
        np.testing.assert_array_equal(codes, step(first)(acc))


def test_the_least_shift_and_the_line_are_the_librarys(presets, found):
    kinds = set()
    for (_, _, first, low, high), mine in zip(presets, found, strict=True):
        form = step_of(step(first), low, high)
        kinds.add(type(form))
        inside = (first > low) & (first <= high)
        R = spread(np.arange(1, 256)[inside], first[inside])
        assert mine["R"] == pytest.approx(float(R), abs=1e-6)
        assert (mine["least"][0] is not None) == isinstance(form, Line) * (not isinstance(form, LineLate))
        assert (mine["least"][1] is not None) == (not isinstance(form, Thresholds))
        if mine["least"][0] is not None:
            line = mine["lines"][0][mine["least"][0]]
            assert (line["M"], line["S"]) == (form.M, form.S)
    assert kinds == {Line, LineLate, Thresholds}


def test_what_the_figure_calls_right_is_proved_and_what_it_calls_wrong_is_wrong(presets, found):
    right = wrong = 0
    for (_, _, first, low, high), mine in zip(presets, found, strict=True):
        for late, lines in enumerate(mine["lines"]):
            for line in lines:
                if line["M"] == 0 or line["M"] >= 2 ** line["S"]:  # a step shorter than an accumulator
                    continue
                form = LineLate(int(line["M"]), int(line["B"]), line["S"], low, high, (0, 255), tuple(line["lates"]))
                assert late or not line["lates"]
                if line["failing"] is None:
                    prove(Steps.of(form), lambda acc, first=first: step(first)(acc))
                    assert line["fits"] and line["wrong"] == 0
                    right += 1
                else:
                    assert form.codes(line["failing"]) != step(first)(line["failing"])
                    if (last := line["failing"] - 1) >= low:
                        before = np.clip(np.concatenate([first - 1, first, [last]]), low, last)
                        np.testing.assert_array_equal(form.codes(before), step(first)(before))
                    with pytest.raises(Unproven):
                        prove(Steps.of(form), lambda acc, first=first: step(first)(acc))
                    wrong += 1
    assert right > 100 < wrong


def test_inputs_give_every_sum():
    acc = np.array([0, 1, -1, 126, 127, HIGH**2 - 1, HIGH**2, -5 * HIGH**2 - 3, 12_345])
    x, w = inputs(acc, 6)
    assert x.max() <= HIGH
    np.testing.assert_array_equal(x.astype(int) @ w, acc)


def test_bad_places_are_refused():
    for name, value in (("layer", 4), ("lane", -1), ("late", 2), ("S", SHIFTS + 1), ("code", 0)):
        with pytest.raises(traitlets.TraitError, match=name):
            PixelLine(**{name: value})


@pytest.mark.browser
def test_it_is_dragged_and_walked_and_says_where_it_fails(browser):
    page = browser.new_page(viewport={"width": 800, "height": 1000})
    page.add_script_tag(content=SOURCE, type="module")
    page.wait_for_function("globalThis.line_widget")
    show_widget(page, PixelLine(), "line_widget")
    words, strip = page.locator("p.ql-words"), page.locator("svg.ql-picture").first
    assert "is right at every accumulator" in words.inner_text()
    box = strip.bounding_box()
    x, y = box["x"] + box["width"] * 0.9, box["y"] + 150
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 60)
    page.mouse.up()
    page.wait_for_timeout(100)
    assert "gives the accumulator" in words.inner_text()
    page.get_by_role("button", name="Best line for this S").click()
    page.wait_for_timeout(100)
    assert "is right at every accumulator" in words.inner_text()
    strip.focus()
    page.keyboard.press("Shift+ArrowUp")
    page.wait_for_timeout(100)
    assert "gives the accumulator" in words.inner_text()
    page.get_by_text("too large a bias").click()
    page.wait_for_timeout(200)
    assert "thresholds" in words.inner_text()
    page.close()
