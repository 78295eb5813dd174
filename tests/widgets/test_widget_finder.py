"""Find my wrong integer: the running PyTorch beside it, and the page as its reader uses it."""

import json
import re

import numpy as np
import pytest
import traitlets

import book
from browser import Watch, show_widget
from javascript import run
from known_inputs import inputs, preset
from qlearn import Machine
from qlearn.runtimes import known
from qlearn.widgets import Finder
from qlearn.widgets.base import module
from qlearn.widgets.finder_torch import row_of


def test_a_state_that_the_finder_has_not_is_refused():
    with pytest.raises(traitlets.TraitError, match="operator"):
        Finder(operator="subtract")
    good = {"s1": 0.05, "z1": 100, "s2": 0.05, "z2": 100, "s": 0.1, "z": 128, "dtype": "quint8"}
    Finder(operator="add", values=good)
    for name, value in (("s1", 0.0), ("s2", -1.0), ("s", 1e39), ("s", float("nan")), ("z", 256)):
        with pytest.raises(traitlets.TraitError, match=f"{name} must be"):
            Finder(operator="add", values=good | {name: value})


@pytest.mark.parametrize("acc", [0, 1, -1, 126, 127, 16128, 16129, 16130, -12345, 2**24 + 1, 2**31 - 1, -(2**31)])
def test_a_row_for_every_accumulator(acc):
    codes, weights = (np.array(each) for each in row_of(acc))
    assert (codes * weights).sum() == acc
    assert codes.min() >= 0 and codes.max() <= 127 and abs(weights).max() <= 127  # two products fit into 16 bits


def lane_of(operator, where, keys, machine):
    """The key of the arithmetic that PyTorch should have there."""
    if operator == "quantize":
        return "per-tensor-all-but-2-13" if "tensor" in where else "per-channel-all-but-2-13"
    if operator == "dequantize":
        return "per-channel" if "channel" in where else "per-tensor"
    if operator in ("mul", "mul_relu", "add_scalar", "mul_scalar", "hardtanh"):
        return next(iter(keys))
    if operator == "avg_pool":
        return pool_lane(where, keys)
    if operator.startswith("requantize"):
        onednn = "onednn-avx512" if machine.capability == "AVX512" else "onednn-avx2"
        x86 = onednn if operator == "requantize_conv" and machine.cpu == "VNNI" else "fbgemm"
        return {"fbgemm": "fbgemm", "qnnpack": "qnnpack", "onednn": onednn, "x86": x86}[where]
    if where == "qnnpack" and operator == "hardsigmoid":
        return "tail-2.13"
    body = "body" if machine.capability != "DEFAULT" else "default" if "default" in keys else "tail"
    return {"tail": "tail", "qnnpack": "qnnpack" if "qnnpack" in keys else body}.get(where, body)


def pool_lane(where, keys):
    """Which average is computed where."""
    kind, layout, engine = where.split(", ")
    if engine == "qnnpack" and "qnnpack" in keys:
        return "qnnpack"
    if layout == "channels_last":
        return "channels-last"
    return "contiguous" if kind == "avg_pool2d" else "adaptive-contiguous"


@pytest.mark.torch
@pytest.mark.parametrize("operator", known.OPERATORS)
def test_the_integers_are_those_of_the_running_pytorch(operator, rng, tmp_path):
    torch = pytest.importorskip("torch")
    machine = Machine.from_torch()
    source = """import { arithmetics } from "./known.js";
        const answer = ([operator, rows]) => rows.map(([p, inputs]) => {
            const theirs = arithmetics(operator, p).filter(({ kind }) => kind === "pytorch");
            return Object.fromEntries(theirs.map(({ key, of }) => [key, of(...inputs)]));
        });"""
    asked = []
    for i in range(40):
        p = preset(operator, rng, "quint8" if operator.startswith("requantize") or i % 3 else "qint8", i % 2)
        drawn = inputs(operator, p, rng, 200)
        row = int(rng.integers(len(drawn[0])))
        given = [a[row].tolist() for a in drawn]
        if np.all(np.isfinite(np.concatenate([np.ravel(one) for one in given]))):
            asked.append((p, given))
    widget, theirs = Finder(), []
    names = run(
        """import { OPERATORS } from "./known.js";
        const answer = (operator) => OPERATORS[operator].inputs.map(({ name }) => name);""",
        operator,
        tmp_path,
    )
    for i, (p, given) in enumerate(asked):
        widget.question = {"id": i, "operator": operator, "values": p | dict(zip(names, given, strict=True))}
        assert widget.answer["id"] == i and widget.answer["version"] == torch.__version__
        theirs.append(widget.answer["says"])
    compared = 0
    for (p, given), said, page in zip(asked, theirs, run(source, [operator, asked], tmp_path), strict=True):
        for where, code in said:
            if code is not None:
                key = lane_of(operator, where, page, machine)
                assert page[key] == code, (p, given, where, key, page)
                compared += 1
    assert compared > 40


HOST = (book.ROOT / "book" / "assets" / "widget-host.js").read_text(encoding="utf-8")
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
SIZES = [1280, 390]


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a page of a finder alone: (its width, its fragment, its traits) -> the page."""
    pages = []

    def open_(width=1280, fragment="", **traits):
        state = {name: value for name, value in Finder(**traits).trait_values(sync=True).items() if name in NEEDED}
        embedded = json.dumps({"state": {"a": {"state": state}}}).replace("</", "<\\/")
        path = tmp_path / "finder.html"
        path.write_text(
            "<!doctype html><meta charset='utf-8'><title>finder</title><h1 id='top'>A page</h1>"
            f"<script type='{STATE}'>{embedded}</script>"
            f"<script type='{VIEW}'>{{\"model_id\": \"a\"}}</script><p id='below' style='margin-top: 90rem'>Below</p>"
            f"<script>{HOST}</script>",
            encoding="utf-8",
        )
        page = browser.new_page(viewport={"width": width, "height": 844}, has_touch=width < 500)
        pages.append((page, Watch(page, "file:")))
        page.goto(path.as_uri() + fragment)
        page.wait_for_selector('[data-widget="alive"]')
        page.wait_for_timeout(60)
        return page

    yield open_
    for page, watch in pages:
        assert not watch.errors and not watch.outside
        page.close()


NEEDED = ("_esm", "_css", "operator", "values", "yours", "many", "bits")


def fill(page, **texts):
    """Type into the fields, by their labels."""
    for label, text in texts.items():
        page.get_by_label(label.replace("_", " "), exact=True).fill(text)
    page.wait_for_timeout(60)


def headline(page):
    page.wait_for_function(
        "!document.querySelector('.ql-find-verdict').hidden && document.querySelector('.ql-find-verdict').textContent"
    )
    return page.locator(".ql-find-verdict").inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("width", SIZES)
def test_from_numbers_to_the_mistake_of_a_sum(opened, width, rng):
    page = opened(width, yours=96.0)
    assert headline(page) == "PyTorch gives 97 or 96, by its path. Yours, 96, is one of them."
    lanes = known.arithmetics(
        "add", {"s1": 1 / 16, "z1": 75, "s2": 1 / 16, "z2": 61, "s": 1 / 8, "z": 57, "dtype": "quint8"}
    )
    all_pairs = np.arange(256).repeat(256), np.tile(np.arange(256), 256)
    codes = np.array([lane.codes(*all_pairs) for lane in lanes])
    mistake = [lane.key for lane in lanes].index("the-inputs-zero-points-forgotten")
    theirs = np.array([lane.kind == "pytorch" for lane in lanes])
    alone = (codes == codes[mistake]).sum(0) == 1  # nobody else gives that number
    agree = (codes[theirs] == codes[0]).all(0)
    at = int(rng.choice(np.flatnonzero(alone & agree)))
    q1, q2 = (int(q[at]) for q in all_pairs)
    fill(
        page,
        scale_of_a="1/16",
        zero_point_of_a="75",
        code_of_a=str(q1),
        scale_of_b="1/16",
        zero_point_of_b="61",
        code_of_b=str(q2),
    )
    fill(page, scale_of_the_result="1/8", zero_point_of_the_result="57", yours=str(codes[mistake, at]))
    said = (
        f"PyTorch gives {codes[0, at]}. Yours, {codes[mistake, at]}, is what “the inputs’ zero points forgotten” gives."
    )
    assert headline(page) == said
    text = page.locator(".ql-finder").inner_text()
    assert "Codes times scales, in float64." in text and "they part" in text
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
@pytest.mark.parametrize("width", SIZES)
def test_from_an_accumulator_to_the_mistake_of_a_convolution(opened, width):
    page = opened(width)
    page.get_by_label("Operator").select_option("requantize_conv")
    fill(page, scale_of_the_input="0.5", scale_of_the_weight="0.25", bias="0", accumulator="20")
    fill(page, scale_of_the_result="1", zero_point_of_the_result="60", yours="63")
    assert headline(page).startswith("PyTorch gives 62. Yours, 63, is what ")
    page.locator("summary", has_text=re.compile(r"\d+ other arithmetics")).click()
    page.wait_for_timeout(60)
    row = page.locator("tr", has_text="half away from zero (fbgemm)")
    assert row.inner_text().endswith("= yours")
    page.locator("summary", has_text="from a row of codes and weights").click()
    fill(
        page,
        **{
            "codes of the input, 0 to 255": "200 255",
            "weights, -128 to 127": "127,127",
            "zero point of the input": "3",
        },
    )
    assert "57,023" in page.locator(".ql-finder").inner_text()
    page.get_by_role("button", name="Take 32,005").click()  # 200·127 + 255·127, clamped to 32,767, less 3·254
    assert page.get_by_label("accumulator", exact=True).input_value() == "32005"
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def mistaken_rows(rng, rows):
    """Codes, and what a sum gives that rounds ties away from zero in float64; for the finder's own example."""
    q1, q2 = rng.integers(0, 256, (2, rows), dtype=np.uint8)
    p = {"s1": 0.05, "z1": 100, "s2": 0.05, "z2": 100, "s": 0.1, "z": 128, "dtype": "quint8"}
    lane = next(each for each in known.arithmetics("add", p) if each.key == "float64-ties-away-from-zero")
    return p, q1, q2, lane.codes(q1.astype(np.int64), q2.astype(np.int64)).astype(np.uint8)


@pytest.mark.browser
@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("kind", ["csv", "npz", "npy"])
def test_from_a_file_of_100_000_pairs_to_the_mistake(opened, rng, width, kind, tmp_path):
    _, q1, q2, yours = mistaken_rows(rng, 100_000)
    path = tmp_path / f"mine.{kind}"
    if kind == "csv":
        np.savetxt(path, np.stack([q1, q2, yours], 1), "%d", ",", header="q1,q2,yours", comments="")
    elif kind == "npz":
        np.savez_compressed(path, yours=yours, q2=q2, q1=q1)
    else:
        np.save(path, np.asfortranarray(np.stack([q1, q2, yours], 1)))
    page = opened(width)
    page.get_by_text("Many numbers").click()
    page.locator("input[type=file]").set_input_files(path)
    said = headline(page)
    assert "of 100,000, by its path. All of yours are what “float64, ties away from zero” gives." in said
    words = page.locator(".ql-finder").inner_text()
    assert f"mine.{kind}: 100,000 rows, 3 columns." in words
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.get_by_label("beside", exact=True).input_value() == "float64-ties-away-from-zero"
    place = page.locator(".ql-find-place")
    before = place.inner_text()
    page.get_by_role("button", name="next ›").click()
    page.wait_for_function("before => document.querySelector('.ql-find-place').textContent !== before", arg=before)
    row = int(place.inner_text().split(":")[0].removeprefix("Row ").replace(",", "")) - 1
    assert place.inner_text() == f"Row {row + 1:,}: code of a {q1[row]}, code of b {q2[row]}; yours {yours[row]}"


@pytest.mark.browser
def test_pasted_columns_and_what_is_wrong_with_them(opened):
    page = opened(many=True)
    text, alert = page.locator("textarea"), page.locator(".ql-find-many .ql-error")
    text.fill("q1\tq2\tyours\n36\t101\t97\n36\tx\t97\n")
    alert.filter(has_text="Line 3, column 2 is not a number: “x”.").wait_for()
    text.fill("q1\tq2\tyours\n36\t101\t97\n36\t300\t97\n")
    alert.filter(has_text="Row 2: the code of b is 300; it must be a whole number from 0 to 255.").wait_for()
    text.fill("36 101 97\n36 100 96\n")
    assert headline(page).startswith("All 2 rows are PyTorch’s")
    assert alert.inner_text() == ""
    page.get_by_label("column of yours").select_option("none")
    page.wait_for_function(
        "document.querySelector('.ql-find-verdict').textContent.startsWith('PyTorch gives 97 or 96')"
    )
    page.get_by_label("column of yours").select_option("column 3")
    fill(page, zero_point_of_the_result="100")  # the comparison follows the parameters
    page.wait_for_function(
        "document.querySelector('.ql-find-verdict').textContent.startsWith('PyTorch differs from yours in 2 rows of 2')"
    )
    fill(page, zero_point_of_the_result="1000")
    assert "must be from 0 to 255" in page.locator(".ql-finder > .ql-error").inner_text()
    assert page.locator(".ql-find-verdict").is_hidden()


PASTE = """(text) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", text);
    const event = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
    document.querySelector("textarea").dispatchEvent(event);
}"""


@pytest.mark.browser
def test_a_million_pasted_rows_are_compared_and_the_page_answers_meanwhile(opened, rng):
    rows = 1_000_000
    p, q1, q2, yours = mistaken_rows(rng, rows)
    yours[-1] ^= 1  # the last row is looked at
    page = opened(many=True)
    text = "\n".join(f"{a},{b},{y}" for a, b, y in zip(q1.tolist(), q2.tolist(), yours.tolist(), strict=True))
    page.evaluate(PASTE, text)
    frames = page.evaluate("""async () => {
        let frames = 0;
        const verdict = document.querySelector(".ql-find-verdict");
        for (; verdict.hidden; frames += 1) await new Promise(requestAnimationFrame);
        return frames;
    }""")
    assert frames > 3  # drawn while the worker computed
    assert page.locator("textarea").input_value() == ""
    differ = [
        np.count_nonzero(lane.codes(q1.astype(np.int64), q2.astype(np.int64)) != yours)
        for lane in known.arithmetics("add", p)
        if lane.kind == "pytorch"
    ]
    assert headline(page) == (
        f"PyTorch differs from yours in {min(differ):,} to {max(differ):,} rows of 1,000,000, by its path. "
        "All of yours are what “float64, ties away from zero” gives but row 1,000,000."
    )
    assert page.locator(".ql-find-place").inner_text().startswith("Row 1,000,000:")
    assert page.get_by_label("beside", exact=True).input_value() == "float64-ties-away-from-zero"


@pytest.mark.browser
def test_a_comparison_is_cancelled_and_taken_up_again(opened, rng):
    _, q1, q2, yours = mistaken_rows(rng, 300_000)
    page = opened(many=True)
    page.evaluate(
        PASTE, "\n".join(f"{a} {b} {y}" for a, b, y in zip(q1.tolist(), q2.tolist(), yours.tolist(), strict=True))
    )
    page.evaluate("""async () => {
        const button = [...document.querySelectorAll("button")].find(({ textContent }) => textContent === "Cancel");
        const words = button.previousSibling;
        while (!words.textContent.startsWith("Comparing")) await new Promise((go) => { setTimeout(go); });
        button.click();
    }""")
    assert page.locator(".ql-find-status").inner_text() == "Cancelled."
    page.wait_for_timeout(300)
    assert page.locator(".ql-find-verdict").is_hidden()
    page.get_by_role("button", name="Compare again").click()
    assert "All of yours are what “float64, ties away from zero” gives." in headline(page)


@pytest.mark.browser
def test_the_address_holds_the_state(opened):
    page = opened(yours=96.0)
    assert page.evaluate("location.hash") == ""  # until something is typed
    fill(page, scale_of_a="1/255", code_of_a="0x25", yours="−3")
    page.get_by_label("show the bits").check()
    page.get_by_label("dtype").select_option("qint8")
    page.wait_for_timeout(60)
    assert "must be from -128 to 127, as qint8 is; it is 128." in page.locator(".ql-finder > .ql-error").inner_text()
    page.wait_for_function("location.hash.includes('dtype=qint8')")
    fragment = page.evaluate("location.hash")
    page.evaluate("location.hash = '#below'")  # the page's own anchors are let alone
    page.wait_for_timeout(100)
    assert page.get_by_label("scale of a", exact=True).input_value() == "1/255"
    page.go_back()
    page.wait_for_timeout(100)
    assert page.evaluate("location.hash") == fragment

    again = opened(fragment=fragment)
    for label in ("scale of a", "code of a", "yours", "scale of b", "zero point of the result"):
        one, other = (each.get_by_label(label, exact=True).input_value() for each in (page, again))
        assert one == other
    assert again.get_by_label("show the bits").is_checked() and again.get_by_label("dtype").input_value() == "qint8"
    again.get_by_role("button", name="Reset").click()
    again.wait_for_timeout(60)
    assert (
        again.evaluate("location.hash") == "" and again.get_by_label("scale of a", exact=True).input_value() == "0.05"
    )
    other = opened(fragment="#find=requantize_linear&acc=77&yours=60&relu=true")
    assert other.get_by_label("Operator").input_value() == "requantize_linear"
    assert (
        other.get_by_label("accumulator", exact=True).input_value() == "77"
        and other.get_by_label("fused ReLU").is_checked()
    )


@pytest.mark.browser
def test_what_is_taken_along_from_a_file(opened):
    """Without the new clipboard, as where a page is opened from a file."""
    page = opened(yours=96.0)
    page.evaluate("""() => {
        Object.defineProperty(navigator, "clipboard", { value: undefined });
        globalThis.copies = [];
        document.execCommand = (command) => { copies.push(document.activeElement.value); return command === "copy"; };
    }""")
    for name in ("Copy as NumPy", "Copy as C", "Copy the finding", "Copy the link"):
        page.get_by_role("button", name=name).click()
        page.wait_for_timeout(30)
    numpy_, c, finding, link = page.evaluate("copies")
    names = {}
    exec(numpy_, names)
    assert names["codes"](np.array([36]), np.array([101])).tolist() == [97]
    assert "int code(int q1, int q2)" in c
    assert link.startswith("finder.html#find=add&") and link in finding
    assert finding.startswith("PyTorch’s quantized add: scale of a 0.05, zero point of a 100, ")
    assert (
        "PyTorch: 97 (vector body of AVX2 and AVX512)" in finding
        and "Mine: 96" in finding
        and "They part at " in finding
    )
    assert "copied" in page.locator(".ql-find-told").inner_text()


@pytest.mark.browser
def test_fields_are_stepped_by_keys_buttons_slider_and_neighbours(opened):
    page = opened()
    code = page.get_by_label("code of a", exact=True)
    code.focus()
    for key, value in (("ArrowUp", "37"), ("Shift+ArrowUp", "47"), ("ArrowDown", "46")):
        page.keyboard.press(key)
        assert code.input_value() == value
    page.get_by_role("button", name="one up").click()
    assert code.input_value() == "47" and page.evaluate("document.activeElement.labels?.[0]?.textContent") == "code"
    scale = page.get_by_label("scale of a", exact=True)
    scale.focus()
    page.keyboard.press("ArrowUp")
    assert float(scale.input_value()) == float(str(np.nextafter(np.float32(0.05), np.float32(1))))
    page.wait_for_timeout(60)
    page.locator(".ql-find-step input").evaluate(
        "(input) => { input.value = -1; input.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    assert scale.input_value() == "0.05"
    code.focus()
    page.wait_for_timeout(60)
    box = page.locator(".ql-picture").bounding_box()
    present = page.locator(".ql-picture rect[fill=none]").bounding_box()
    page.mouse.click(present["x"] + 1.5 * present["width"], box["y"] + 40)
    assert code.input_value() == "48"


@pytest.mark.browser
def test_several_numbers_pasted_into_a_field_go_into_those_after_it(opened):
    page = opened()
    page.get_by_label("scale of a", exact=True).evaluate("""(input) => {
        const clipboardData = new DataTransfer();
        clipboardData.setData("text/plain", "1/16\\t75\\n1\\t1/8");
        input.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
    }""")
    labels = ("scale of a", "zero point of a", "code of a", "scale of b", "zero point of b")
    assert [page.get_by_label(label, exact=True).input_value() for label in labels] == ["1/16", "75", "1", "1/8", "100"]


@pytest.mark.browser
def test_what_is_wrong_is_said_and_the_voice_waits(opened):
    page = opened(yours=96.0)
    wrong, voice = page.locator(".ql-finder > .ql-error"), page.locator("[aria-live=polite]")
    fill(page, zero_point_of_the_result="256")
    assert wrong.inner_text() == "Zero point of the result must be from 0 to 255, as quint8 is; it is 256."
    assert page.get_by_label("zero point of the result", exact=True).get_attribute("aria-invalid") == "true"
    assert page.locator(".ql-find-verdict").is_hidden()
    fill(page, zero_point_of_the_result="128", yours="97")
    assert wrong.inner_text() == "" and "97" in headline(page)
    page.wait_for_timeout(500)
    said = voice.inner_text()
    assert said.startswith(headline(page))
    for digit in "123":
        page.get_by_label("yours", exact=True).fill(digit)
    assert voice.inner_text() == said  # not while somebody types


@pytest.mark.browser
@pytest.mark.parametrize("operator", known.OPERATORS)
def test_every_operator_is_drawn_and_fits_a_phone(opened, operator):
    page = opened(390, operator=operator, yours=3.0)
    assert headline(page).startswith("PyTorch gives ")
    page.get_by_label("show the bits").check()
    for summary in page.locator("summary").all():
        if summary.is_visible():
            summary.click()
    page.wait_for_timeout(100)
    assert "0x" in page.locator(".ql-steps").inner_text()
    assert page.locator("pre").first.inner_text().startswith("import numpy")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    small = (
        page.locator(".ql-finder")
        .locator("select, textarea, input[type=text], button, summary, .ql-options label")
        .evaluate_all(
            """(nodes) => nodes.filter((node) => node.checkVisibility() && node.getBoundingClientRect().height < 43.9)
                .map((node) => node.outerHTML.slice(0, 80))"""
        )
    )
    assert small == []


@pytest.mark.browser
def test_a_running_pytorch_is_shown_beside(browser):
    """It is asked when the typing rests; what no lane gives is told."""
    page = browser.new_page()
    source = module("finder.js").replace("export default", "globalThis.finder =")
    page.add_script_tag(content=source, type="module")
    page.wait_for_function("globalThis.finder")
    show_widget(page, Finder(yours=96.0), "finder")
    page.wait_for_function("model.get('question').operator === 'add'")
    assert page.evaluate("model.get('question').values.q2") == 101
    page.evaluate(
        """() => {
            const says = [["tail", 96], ["vector body, AVX2", 55], ["qnnpack", null]];
            model.set("answer", { id: model.get("question").id, version: "2.14.1+cpu", says });
        }"""
    )
    page.wait_for_timeout(60)
    rows = page.locator("tr", has_text="PyTorch 2.14.1+cpu, running").all_inner_texts()
    assert [" ".join(row.split()) for row in rows] == [
        "PyTorch 2.14.1+cpu, running: tail as 4 of the lines above 96 = yours",
        "PyTorch 2.14.1+cpu, running: vector body, AVX2 as none of the lines above 55",
        "PyTorch 2.14.1+cpu, running: qnnpack refused",
    ]
    page.get_by_label("code of a", exact=True).fill("35")
    page.wait_for_timeout(60)
    assert page.locator("tr", has_text="running").count() == 0  # it was an answer to another question
    page.close()
