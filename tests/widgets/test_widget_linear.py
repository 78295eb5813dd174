"""The staircase in JavaScript, against PyTorch's recorded thresholds and qlearn.layers.requantize (Chapter 6)."""

import base64
import zlib

import numpy as np
import pytest
import traitlets

from qlearn import recordings
from qlearn.layers import requantize
from qlearn.widgets import Staircase
from qlearn.widgets.base import module
from qlearn.widgets.linear import LANES, NAMES, REACH, WEIGHTS, inputs
from strategies import EXTREME, TIE_RICH

SOURCE = module("linear.js").replace("export default", "globalThis.widget =")
NEEDED = (
    "{ LANES, fbgemm, qnnpack, onednnVnni, onednnAvx2, onPaper, thresholds, codeAt, run, partings, nextOf, recordings,"
    " sentence, inflate }"
)
MUTANTS = (  # a lane, a step of it, and a wrong form
    (1, "(a) => fma32(b, r, a)", "(a) => fround(a + fround(b / t))"),
    (1, "(a) => fma32(b, r, a)", "(a) => fround(a + fround(b * r))"),
    (1, "(a) => fround(a + part)", "(a) => fma32(b, r, a)"),
    (1, "fround(t / fround(s)),", "fround(t * reciprocal(s)),"),
    (1, "fround(sum * m)", "fround(fround(sum * t) / fround(s))"),
    (1, "return [part, sum, v, cvtps2dq(v), code(cvtps2dq(v) + z", "return [code(cvtps2dq(fround(v + z))"),
    (2, "twiceInverted(sx)", "fround(sx)"),
    (2, "twiceInverted(sw)", "fround(sw)"),
    (2, "channel ? reciprocal(reciprocal(sw)) : twiceInverted(sw)", "twiceInverted(sw)"),
    (2, "fround(avx2 ? single(acc) * both : scaled * w)", "fround(single(acc) * both)"),
    (2, "fround(real + b)", "fma32(scaled, w, b)"),
    (2, "code(rint(shifted))", "code(rint(v) + z)"),
    (2, "reciprocal(twiceInverted(s))", "reciprocal(s)"),
    (3, "fround(real + b)", "fma32(single(acc), both, b)"),
    (3, "const both = fround(x * w);", "const both = x * w;"),
    (4, "rint(fround(fround(bias) * reciprocal(sw * sx)))", "Math.trunc(fround(fround(bias) * reciprocal(sw * sx)))"),
    (4, "fround(fround(sw) * fround(sx)) * reciprocal(s)", "fround(fround(sw) * fround(sx)) / fround(s)"),
    (4, "return [b, sum, v, cvtps2dq(v), code(cvtps2dq(v) + z", "return [code(cvtps2dq(fround(v + z))"),
)
COMPARED = """async ([text, { pairs, scales, zeroPoints, biases }, lanes, stop]) => {
    const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const steps = new Int8Array((await inflate(new DataView(packed.buffer))).buffer);
    const at = recordings(steps, { scales: scales[0].length, zeroPoints: zeroPoints.length, biases: biases[0].length });
    const same = LANES.map(() => LANES.map(() => 0)); // equal thresholds: ours down, PyTorch's across
    const sizes = [pairs, [0, 1], scales[0], zeroPoints, biases[0]].map((list) => list.length);
    for (let i = 0; i < sizes.reduce((a, b) => a * b); i += 1) {
        let rest = i;
        const [bias, zeroPoint, scale, channel, pair] = sizes.toReversed().map((size) => {
            const k = rest % size;
            rest = (rest - k) / size;
            return k;
        });
        const [[sx, sw], s, z, b] = [pairs[pair], scales[pair][scale], zeroPoints[zeroPoint], biases[pair][bias]];
        const p = { sx, sw, bias: b, s, z, channel: channel === 1 };
        const ours = LANES.map(({ make }, lane) => (lanes.includes(lane) ? thresholds(make(p), p) : []));
        for (const lane of lanes.filter((lane) => lane > 0)) {
            const theirs = at({ pair, channel, scale, zeroPoint, bias, p }, lane);
            const counts = ours.map((found) => found.reduce((n, t, k) => n + (t === theirs[k]), 0));
            counts.forEach((n, i) => { same[i][lane] += n; });
            if (stop && counts[lane] < theirs.length) return same;
        }
    }
    return same;
}"""


@pytest.fixture
def page(browser):
    page = load(browser, SOURCE)
    yield page
    page.close()


def load(browser, source):
    page = browser.new_page()
    page.add_script_tag(content=f"{source}; Object.assign(globalThis, {NEEDED})", type="module")
    page.wait_for_function("globalThis.LANES")
    return page


def about(widget):
    return {
        "pairs": widget.pairs,
        "scales": widget.scales,
        "zeroPoints": widget.zero_points,
        "biases": widget.biases,
    }


def equal(page, widget, lanes, *, stop=False):
    """How many recorded thresholds of each lane (across) are those that the page computes for each lane (down).

    With ``stop``, counted up to the first state in which one of the given lanes differs from its own recording.
    """
    return np.array(page.evaluate(COMPARED, [base64.b64encode(widget.steps).decode(), about(widget), lanes, stop]))


@pytest.mark.browser
@pytest.mark.parametrize(("lane", "right", "wrong"), MUTANTS)
def test_a_wrong_step_is_told_from_the_right_one(browser, lane, right, wrong):
    assert SOURCE.count(right) == 1
    page = load(browser, SOURCE.replace(right, wrong))
    assert equal(page, Staircase(), [lane], stop=True)[lane, lane] < 4 * 2 * 9 * 5 * 11 * 255
    page.close()


@pytest.mark.browser
def test_every_recorded_threshold_of_every_engine_and_no_others(page):
    widget = Staircase()
    same, total = equal(page, widget, [0, 1, 2, 3, 4]), 4 * 2 * 9 * 5 * 11 * 255
    assert [same[lane, lane] for lane in (1, 2, 3, 4)] == [total] * 4
    for ours in range(5):
        for theirs in (1, 2, 3, 4):
            assert (same[ours, theirs] == total) == (
                ours == theirs
            )  # each engine is told from each other, and from paper


@pytest.mark.browser
def test_the_recording_is_what_the_widget_holds():
    widget, found = Staircase(), recordings.load("staircase")
    steps = np.frombuffer(zlib.decompress(widget.steps), np.int8).reshape(4, 2, 9, 5, 4, 11, 255)
    for i, lane in enumerate(LANES):
        np.testing.assert_array_equal(steps[:, :, :, :, i], found[f"avx2/{lane}"])
    assert len(widget.steps) < 100_000  # of a page's megabyte


def code_of(lane, acc, p):
    """qlearn's, for one accumulator; per channel, all weights have the one scale."""
    bias = np.array([p["bias"]], np.float32)
    scale = np.array([p["sw"]]) if p["channel"] else np.array(p["sw"])
    if lane.startswith("onednn"):
        scale = requantize.onednn_linear_scale(scale)
    f = getattr(requantize, {"onednn": "onednn_vnni"}.get(lane, lane))
    return f(np.int32(acc)[:, None], bias, p["sx"], scale, p["s"], p["z"], relu=False)[:, 0]


@pytest.mark.browser
@pytest.mark.parametrize("lane", LANES)
def test_any_accumulator_and_any_scales_as_the_library(page, lane, rng):
    """Far outside of the recorded states too: huge and tiny scales, biases that int32 does not hold."""
    refused = 0
    for i in range(60):
        scales = [float(rng.choice([*TIE_RICH, *EXTREME, rng.uniform(1e-3, 1)])) for _ in range(3)]
        if i == 0:
            scales = [1e-40, 0.5, 2.0**-126]  # 1 / (sx * sw) is infinite, and the bias 0 becomes NaN
        p = dict(zip(("sx", "sw", "s"), scales, strict=True)) | {
            "z": int(rng.integers(256)),
            "channel": bool(rng.integers(2)),
        }
        with np.errstate(over="ignore"):
            p["bias"] = float(np.float32(rng.choice([0, 0.5, -3, 1e4, 1e9, -1e12]) * (i > 0) * scales[0] * scales[1]))
        acc = np.concatenate([rng.integers(-(2**31), 2**31, 20), rng.integers(-20000, 20000, 80), [2**24, 2**24 + 1]])
        try:
            theirs = code_of(lane, acc, p)
        except ValueError:
            refused += 1  # QNNPACK does not take the scales
            continue
        run = "([key, accs, p]) => accs.map(LANES.find((lane) => lane.key === key).make(p))"
        np.testing.assert_array_equal(page.evaluate(run, [lane, acc.tolist(), p]), theirs, err_msg=f"{p}")
    assert refused < 50 and (refused == 0 or lane == "qnnpack")


@pytest.mark.browser
def test_thresholds_and_codes_say_the_same(page):
    found = page.evaluate("""() => {
        const p = { sx: 0.05, sw: 0.02, bias: 0.0005, s: 0.016, z: 101, channel: false };
        return LANES.map(({ make }) => {
            const [f, found] = [make(p), thresholds(make(p), p)];
            let wrong = 0;
            for (let acc = -3000; acc <= 4000; acc += 1) wrong += codeAt(found, acc) !== f(acc);
            const [from, to] = run(found, 101);
            return [wrong, run(found, 0), run(found, 255), [from, to].map(f), f(from - 1), f(to + 1)];
        });
    }""")
    for wrong, lowest, highest, inside, before, after in found:
        assert wrong == 0 and lowest[0] is None and highest[1] is None
        assert (inside, before, after) == ([101, 101], 100, 102)


@pytest.mark.browser
def test_the_next_place_where_engines_differ(page):
    found = page.evaluate("""() => {
        const lane = (...changes) => {
            const found = Int32Array.from({ length: 255 }, (_, i) => 10 * i);
            changes.forEach(([i, at]) => { found[i] = at; });
            return found;
        };
        const [one, other] = [lane(), lane([3, 31], [200, 1998])];
        const apart = partings([one, other]);
        const next = [7, 30, 1998].map((acc) => nextOf(apart, acc));
        return [partings([one, one]).length, nextOf([], 7), [...apart], next];
    }""")
    assert found == [0, 7, [30, 1998], [30, 1998, 30]]


@pytest.mark.browser
def test_the_sentence_speaks_up_when_pytorch_says_something_else(page):
    said = page.evaluate("""() => {
        const p = { sx: 0.05, sw: 0.02, bias: 0, s: 0.016, z: 101, channel: false };
        const ours = LANES.map(({ make }) => thresholds(make(p), p));
        const recorded = ours.map((found) => found.slice());
        const right = sentence({ p, ours, recorded, acc: 24 });
        const running = { fbgemm: [...ours[1]], qnnpack: ours[4].map((t) => t + 1) };
        const live = sentence({ p, ours, recorded, acc: 24 }, { version: "3", thresholds: running });
        recorded[2][7] += 1;
        return [right, live, sentence({ p, ours, recorded, acc: 24 })];
    }""")
    assert "the accumulator 24 is 1.5 steps of the output, and 102.5 with the zero point" in said[0]
    assert said[0].endswith("All 1,020 recorded thresholds of PyTorch are those of this page.")
    assert said[1].endswith("The running PyTorch 3 differs in 255.")
    assert "1 of PyTorch’s recorded thresholds are others: a defect of this page." in said[2]


def test_the_inputs_make_every_accumulator():
    x = inputs()
    assert x.max() <= 127  # no pair of products saturates
    np.testing.assert_array_equal(x.astype(int) @ WEIGHTS, np.arange(-REACH, REACH + 1))


@pytest.mark.parametrize(
    ("name", "value"),
    [("pair", len(NAMES)), ("channel", 2), ("scale", 9), ("zero_point", -1), ("bias", 11), ("acc", 12501)],
)
def test_a_state_that_is_not_there_is_refused(name, value):
    with pytest.raises(traitlets.TraitError, match=f"{name} must be"):
        Staircase(**{name: value})


@pytest.mark.torch
def test_the_running_pytorch_says_what_is_recorded(rng):
    pytest.importorskip("torch")
    widget, found = Staircase(), recordings.load("staircase")
    for i in range(8):
        pair, channel, scale, zero_point, bias = (int(rng.integers(n)) for n in (4, 2, 9, 5, 11))
        (sx, sw), s, z, b = (
            widget.pairs[pair],
            widget.scales[pair][scale],
            widget.zero_points[zero_point],
            widget.biases[pair][bias],
        )
        widget.question = {"id": i + 1, "sx": sx, "sw": sw, "s": s, "z": z, "bias": b, "channel": channel}
        assert widget.answer["id"] == i + 1
        expected = np.ceil(((np.arange(1, 256) - 0.5 - z) * s - b) / (sx * sw)).astype(int)
        assert len(widget.answer["thresholds"]) == 3
        for lane, theirs in widget.answer["thresholds"].items():
            recorded = found[f"avx2/{lane}"][pair, channel, scale, zero_point, bias]
            np.testing.assert_array_equal(theirs, expected + recorded)


@pytest.mark.browser
@pytest.mark.usefixtures("built_book")
def test_the_staircase_answers_to_mouse_keys_and_touch(browser, site):
    page = browser.new_page(viewport={"width": 390, "height": 900}, has_touch=True)
    page.goto(f"{site}/book/linear.html")
    page.wait_for_selector('[data-widget="alive"]')
    widget = page.locator(".ql-widget").first
    stairs, lens, words = (
        widget.locator(".ql-picture").first,
        widget.locator(".ql-picture").nth(1),
        widget.locator(".ql-words"),
    )
    slider = widget.locator("input[type=range]").first

    def acc():
        page.wait_for_timeout(60)
        return int(slider.input_value()) - REACH

    stairs.scroll_into_view_if_needed()
    box = stairs.bounding_box()
    page.touchscreen.tap(box["x"] + 34 + (box["width"] - 42) / 2, box["y"] + 100)
    assert abs(acc()) < 100  # the middle of the staircase
    lens.scroll_into_view_if_needed()
    box, before = lens.bounding_box(), acc()
    page.mouse.move(box["x"] + 5, box["y"] + 60)
    left = acc()
    page.mouse.move(box["x"] + box["width"] - 5, box["y"] + 60)
    cells = int(box["width"] // 13)
    assert left < before < acc() and acc() - left == cells - 1
    lens.focus()
    at = acc()
    page.keyboard.press("ArrowLeft")
    assert acc() == at - 1
    page.keyboard.press("Shift+ArrowRight")
    assert acc() == at + 9
    page.keyboard.press("ArrowUp")
    here = words.inner_text()
    widget.get_by_role("button", name="Next place").click()
    page.wait_for_timeout(60)
    assert words.inner_text() != here
    page.close()
