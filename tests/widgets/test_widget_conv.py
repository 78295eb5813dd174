"""The sliding window in JavaScript, against PyTorch's recorded integers and qlearn.conv2d (Chapter 7)."""

import re

import numpy as np
import pytest
import traitlets

import qlearn
from browser import show_widget
from live_layers import ONEDNN
from qlearn import Machine, QTensor, recordings
from qlearn.widgets import SlidingWindow
from qlearn.widgets.base import module

SOURCE = module("conv.js").replace("export default", "globalThis.slidingWindow =")
NAMES = "positions, windowAt, accumulate, outputs, libraryOf, LIBRARIES, sentence"
CHOICES = ("stride", "dilation", "padding")
OUTPUTS = """([layer, cases]) => cases.map(([geometry, library, relu, fill]) =>
    outputs(layer, geometry, library, { relu, fill }))"""


@pytest.fixture
def page(browser):
    page = browser.new_page()
    page.add_script_tag(content=f"{SOURCE}; Object.assign(globalThis, {{ {NAMES} }})", type="module")
    page.wait_for_function("globalThis.LIBRARIES")
    yield page
    page.close()


@pytest.fixture
def alive(page):
    """The page with a widget in it, which hears from nobody but the reader."""
    page.set_viewport_size({"width": 900, "height": 1400})
    show_widget(page, SlidingWindow(), "slidingWindow")
    return page


def chosen(page):
    """What the widget is set to, after a frame."""
    page.wait_for_timeout(60)
    names = ("kernel", "engine", "stride", "dilation", "padding", "relu", "place", "mistake")
    return page.evaluate("(names) => Object.fromEntries(names.map((name) => [name, model.get(name)]))", names)


@pytest.fixture(scope="module")
def recorded():
    return {key.removeprefix("avx2/"): array for key, array in recordings.load("sliding_window").items()}


def vnni():
    return recordings.sources("sliding_window")["avx2"]["vnni"]


def layer(found, kernel):
    """One output channel as the page has it."""
    x_scale, x_zero_point, scale, zero_point = found["parameters"].tolist()
    parameters = {"sx": x_scale, "sw": found["w_scales"][kernel], "bias": float(found["bias"][kernel])}
    return {
        "x": found["x"].ravel().tolist(),
        "n": 8,
        "weight": found["weight"][kernel].ravel().tolist(),
        "zeroPoint": x_zero_point,
        "parameters": parameters | {"s": scale, "z": zero_point, "channel": True, "conv": True},
    }


def geometries(found):
    """Each recorded choice: its place in the recording, its numbers, the side of its result."""
    for at in np.ndindex(*(len(found[f"{name}s"]) for name in CHOICES)):
        stride, dilation, padding = (int(found[f"{name}s"][i]) for name, i in zip(CHOICES, at, strict=True))
        numbers = {"stride": stride, "dilation": dilation, "padding": padding}
        yield at, numbers, (8 + 2 * padding - 2 * dilation - 1) // stride + 1


@pytest.mark.browser
def test_every_recorded_output(page, recorded):
    """All that the controls can be set to: 144 results of each kernel; and the recording holds nothing else."""
    total, held = 0, np.zeros(recorded["codes"].shape, bool)
    names = [[name, vnni()] for name in recorded["engines"].tolist()]
    libraries = page.evaluate("(names) => names.map((args) => libraryOf(...args))", names)
    for kernel in range(3):
        cases, theirs = [], []
        for at, numbers, side in geometries(recorded):
            for e, relu in np.ndindex(len(libraries), 2):
                cases.append([numbers, libraries[e], relu, int(recorded["parameters"][1])])
                where = (e, relu, *at, kernel, slice(side), slice(side))
                theirs.append(recorded["codes"][where])
                held[where] = True
        for case, ours, right in zip(
            cases, page.evaluate(OUTPUTS, [layer(recorded, kernel), cases]), theirs, strict=True
        ):
            np.testing.assert_array_equal(ours, right.ravel(), err_msg=str(case))
            total += right.size
    assert total == held.sum() == 10_584
    assert not recorded["codes"][~held].any()


@pytest.mark.browser
def test_the_engines_differ_so_that_each_formula_is_caught(page, recorded):
    cases = [[{"stride": 1, "dilation": 1, "padding": 1}, name, 0, 43] for name in ("FBGEMM", "oneDNN", "QNNPACK")]
    fbgemm, onednn, qnnpack = (np.array(codes) for codes in page.evaluate(OUTPUTS, [layer(recorded, 0), cases]))
    assert np.count_nonzero(fbgemm != onednn) > 30 < np.count_nonzero(fbgemm != onednn)
    assert np.count_nonzero(onednn != qnnpack) > 10 < np.count_nonzero(fbgemm != qnnpack)


@pytest.mark.browser
def test_formulas_are_the_librarys_for_other_layers_too(page, rng):
    """Random images, weights, scales and biases, the clamps included."""
    for machine, library in (
        (Machine("fbgemm", "AVX512", 1), "FBGEMM"),
        (Machine("onednn", "AVX512", 1), "oneDNN"),
        (Machine("onednn", "AVX2", 1, vnni=False), "oneDNN for AVX2"),
        (Machine("qnnpack", "AVX512", 1), "QNNPACK"),
    ):
        for _ in range(12):
            x, w = rng.integers(0, 128, (8, 8), dtype=np.uint8), rng.integers(-128, 128, (3, 3), dtype=np.int8)
            x_scale, w_scale = rng.uniform(1e-3, 0.1, 2)
            z, zero_point, relu = int(rng.integers(0, 128)), int(rng.integers(0, 256)), int(rng.integers(0, 2))
            scale = x_scale * w_scale * float(rng.choice([2.0, 64.0, rng.uniform(30, 300)]))
            bias = np.float32(x_scale * w_scale * rng.integers(-500, 500))
            parameters = {"sx": x_scale, "sw": w_scale, "bias": float(bias), "s": scale, "channel": True, "conv": True}
            mine = {"x": x.ravel().tolist(), "n": 8, "weight": w.ravel().tolist(), "zeroPoint": z}
            mine["parameters"] = parameters | {"z": zero_point}
            numbers = dict(
                zip(CHOICES, (int(rng.integers(1, 4)), int(rng.integers(1, 3)), int(rng.integers(0, 3))), strict=True)
            )
            ours = page.evaluate(OUTPUTS, [mine, [[numbers, library, relu, z]]])[0]
            weight = QTensor(w[None, None], [w_scale], [0], "qint8", 0)
            operator = qlearn.conv2d_relu if relu else qlearn.conv2d
            theirs = operator(
                QTensor(x[None, None], x_scale, z, "quint8"),
                *(weight, bias[None], numbers["stride"], numbers["padding"], numbers["dilation"], 1),
                *(scale, zero_point),
                machine=machine,
            )
            np.testing.assert_array_equal(ours, theirs.int_repr().ravel(), err_msg=f"{library} {mine} {numbers}")


@pytest.mark.browser
def test_padding_with_0_goes_wrong_at_the_border_alone(page, recorded):
    geometry = {"stride": 1, "dilation": 1, "padding": 1}
    cases = [[geometry, "FBGEMM", 0, fill] for fill in (43, 0)]
    right, wrong = (np.reshape(codes, (8, 8)) for codes in page.evaluate(OUTPUTS, [layer(recorded, 0), cases]))
    differ = right != wrong
    assert not differ[1:-1, 1:-1].any() and differ.sum() == differ[:, [0, -1]].sum() > 10
    taps = page.evaluate(
        "([x, w, g]) => windowAt(x, 8, w, 0, 0, g, 43, 0)",
        [*(layer(recorded, 0)[k] for k in ("x", "weight")), geometry],
    )
    assert [(tap["i"], tap["j"]) for tap in taps] == [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    assert [tap["inside"] for tap in taps] == [False] * 4 + [True, True, False, True, True]
    assert all(tap["inside"] or tap["product"] == -43 * tap["w"] for tap in taps)


@pytest.mark.browser
def test_the_sentence_counts_and_speaks_up(page):
    said = page.evaluate(
        """() => {
            const now = { geometry: { padding: 1 }, side: 2, row: 0, column: 1, name: "fbgemm", library: "FBGEMM",
                acc: -7, engine: 0, place: 1, xZeroPoint: 43, ours: [[1, 2, 3, 4]], theirs: [[1, 2, 3, 4]], wrong: 0,
                mistake: false, apart: [false, true, true, false] };
            const taps = (outside) => Array.from({ length: 9 }, (_, k) => ({ inside: k >= outside }));
            return [{ taps: taps(0) }, { taps: taps(1) }, { taps: taps(4), mistake: true, wrong: 3 },
                { taps: taps(9), wrong: 1 }, { taps: taps(0), mistake: true, geometry: { padding: 0 } }]
                .map((change) => sentence({ ...now, ...change }));
        }"""
    )
    assert "It lies within the image." in said[0] and "All 4 outputs are PyTorch’s. PyTorch’s engines do" in said[0]
    assert "sum to −7, of which the engine fbgemm, by FBGEMM, makes 2; PyTorch’s recorded integer is 2." in said[0]
    assert "One of its cells lies in the padding and adds nothing." in said[1]
    assert "Four of its cells" in said[2] and "With 0 in the padding, 3 of the 4 outputs are wrong." in said[2]
    assert "All nine of its cells lie" in said[3] and "a defect of this page" in said[3]
    assert "Without padding the mistake has no consequence." in said[4]
    assert all(text.endswith("PyTorch’s engines do not agree in 2 of them.") for text in said)


@pytest.mark.browser
def test_it_answers_to_mouse_and_keys(alive):
    picture, words = alive.locator(".ql-picture"), alive.locator(".ql-words")
    assert chosen(alive)["place"] == 8
    picture.focus()
    for key, place in (("ArrowRight", 9), ("ArrowDown", 17), ("ArrowLeft", 16), ("ArrowLeft", 16), ("ArrowUp", 8)):
        alive.keyboard.press(key)
        assert chosen(alive)["place"] == place

    def middle(text, nth):
        box = picture.locator("text", has_text=re.compile(f"^{text}$")).nth(nth).bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    alive.mouse.move(*middle("195", 0))  # the largest result, in row 2, column 2
    alive.mouse.down()
    assert chosen(alive)["place"] == 18
    x, y = middle("195", 0)
    alive.mouse.move(x + 2 * 28, y)
    assert chosen(alive)["place"] == 20
    alive.mouse.move(x + 40 * 28, y)
    assert chosen(alive)["place"] == 23  # no further than the last column
    alive.mouse.up()
    alive.mouse.move(x, y)
    assert chosen(alive)["place"] == 23
    alive.mouse.click(*middle("81", 1))  # a pixel of the image, in row 3, column 6
    assert chosen(alive)["place"] == 3 * 8 + 6
    assert "row 3, column 6 in the 8 × 8 outputs" in words.inner_text()


@pytest.mark.browser
def test_each_choice_is_heard_and_the_mistake_counted(alive):
    words, table = alive.locator(".ql-words"), alive.locator("table").nth(1)
    assert "All 64 outputs are PyTorch’s." in words.inner_text()
    alive.get_by_label("Pad with the code 0").check()
    assert chosen(alive)["mistake"] and "16 of the 64 outputs are wrong" in words.inner_text()
    alive.get_by_text("blur").click()
    assert chosen(alive)["kernel"] == 2 and "28 of the 64 outputs are wrong" in words.inner_text()
    alive.get_by_label("Pad with the code 0").uncheck()
    for group, option, name, value in (
        ("Engine", "qnnpack", "engine", 3),
        ("Stride", "2", "stride", 1),
        ("Dilation", "2", "dilation", 1),
        ("Padding", "2", "padding", 2),
        ("ReLU", "fused", "relu", 1),
    ):
        alive.get_by_role("group", name=group).get_by_text(option, exact=True).click()
        assert chosen(alive)[name] == value
        assert "outputs are PyTorch’s." in words.inner_text(), group
    assert "in the 4 × 4 outputs" in words.inner_text()
    rows = [row.inner_text().split("\t") for row in table.locator("tbody tr").all()]
    assert [row[0] for row in rows] == ["this page", "PyTorch 2.14, recorded"] and rows[0][1:] == rows[1][1:]
    asked = alive.evaluate("model.get('question')")
    assert {name: asked[name] for name in CHOICES} == {"stride": 2, "dilation": 2, "padding": 2}
    answer = {"id": asked["id"], "version": "9.9", "codes": [[*range(16)]] * 3 + [None]}
    alive.evaluate("(answer) => model.set('answer', answer)", answer)
    place = str(chosen(alive)["place"])
    assert table.locator("tbody tr").nth(2).inner_text().split("\t") == [
        "PyTorch 9.9, running",
        place,
        place,
        place,
        "–",
    ]


STEPS = {
    "FBGEMM": (
        ("channel ? fround(b / t) : null", "fround(b * reciprocal(t))"),
        ("fround(sum * m)", "fround(fround(sum * t) / fround(s))"),
        ("fround(a + part)", "a + b / t"),
        ("[part, sum, v, cvtps2dq(v), code(cvtps2dq(v) + z", "[code(cvtps2dq(v + z)"),
    ),
    "QNNPACK": (
        ("rint(fround(fround(bias) *", "Math.trunc(fround(fround(bias) *"),
        (
            "fround(fround(fround(sw) * fround(sx)) * reciprocal(s))",
            "fround(fround(fround(sw) * fround(sx)) / fround(s))",
        ),
        ("fround(single(sum) * m)", "single(sum) * sw * sx / s"),
        ("[b, sum, v, cvtps2dq(v), code(cvtps2dq(v) + z", "[code(cvtps2dq(v + z)"),
    ),
    "oneDNN": (
        ("reciprocal(1 / scale)", "fround(scale)"),
        ("conv ? fround(sw) :", ""),
        ("avx2 ? single(acc) * both : scaled * w", "single(acc) * both"),
        ("fround(real + b)", "real + b"),
        ("fround(positive * r)", "fround(positive / fround(s))"),
        ("code(rint(shifted))", "code(rint(v) + z)"),
    ),
}


@pytest.mark.browser
def test_each_changed_step_shows(page):
    """Each step of each library, changed to what looks like the same, on fixed layers."""
    drawn = np.random.default_rng(11)
    layers = []
    for kind in range(30):
        sx, sw = (0.05, 0.02) if kind % 2 else drawn.uniform(1e-3, 0.1, 2)
        parameters = {"sx": sx, "sw": sw, "s": sx * sw * 2.0 ** (kind % 5), "z": 101, "channel": True, "conv": True}
        parameters["bias"] = float(np.float32(sx * sw * (drawn.integers(-300, 300) + kind % 3 / 2)))
        layers.append(parameters)
    differing = """([library, layers, ...sources]) => {
        const makes = sources.map((text) => new Function(`${text}; return LIBRARIES`)()[library].make);
        const codes = (steps) => Array.from({ length: 2000 }, (_, k) => steps(k - 1000).at(-1));
        return layers.reduce((total, p) => {
            const [right, wrong] = makes.map((make) => codes(make(p)));
            return total + right.filter((code, k) => code !== wrong[k]).length;
        }, 0);
    }"""
    for library, steps in STEPS.items():
        assert page.evaluate(differing, [library, layers, SOURCE, SOURCE]) == 0
        for old, new in steps:
            assert SOURCE.count(old) == 1, old
            changed = page.evaluate(differing, [library, layers, SOURCE, SOURCE.replace(old, new)])
            assert changed > 0, (library, old)


@pytest.mark.parametrize(
    ("name", "value"),
    [("engine", 4), ("kernel", 3), ("stride", -1), ("dilation", 2), ("padding", 3), ("relu", 2), ("place", 100)],
)
def test_a_state_that_was_not_recorded_is_refused(name, value):
    with pytest.raises(traitlets.TraitError, match=f"{name} must be 0 to"):
        SlidingWindow(**{name: value})


@pytest.mark.torch
def test_the_running_pytorch_says_what_is_recorded():
    torch = pytest.importorskip("torch")
    kind = {"VNNI": "avx2", "AVX2": "without_vnni"}.get(ONEDNN)
    if kind is None:
        pytest.skip(f"no recording has oneDNN's kernels for {ONEDNN}")
    recorded = {key.removeprefix(f"{kind}/"): array for key, array in recordings.load("sliding_window").items()}
    widget, before = SlidingWindow(), torch.backends.quantized.engine
    for number, (at, numbers, side) in enumerate(geometries(recorded)):
        kernel, relu = number % 3, number % 2
        widget.question = {"id": number, "kernel": kernel, "relu": relu, **numbers}
        assert widget.answer["id"] == number and re.match(r"2\.", widget.answer["version"])
        for e, engine in enumerate(recorded["engines"].tolist()):  # x86, which asks the CPU alone, not of every CPU
            codes = widget.answer["codes"][widget.engines.index(engine)]
            assert codes == recorded["codes"][(e, relu, *at, kernel, slice(side), slice(side))].ravel().tolist()
    assert torch.backends.quantized.engine == before
