"""The domino: recorded counts in JavaScript, and the same counts from qlearn's own networks (Chapters 10 and 11)."""

from zlib import crc32, decompress

import numpy as np
import pytest
import traitlets

from browser import show_widget
from oracle import compare
from qlearn import recordings
from qlearn.widgets import Domino, drawn
from qlearn.widgets.base import module
from qlearn.widgets.network import NAMES, NETWORKS, SCALES, flawed, network

SOURCE = module("network.js").replace("export default", "globalThis.domino =")
EXPORTS = "recorded, nextShown, heightOf, lean, sentence"
KINDS = [(name, scales) for name in NETWORKS.values() for scales in SCALES]


def found(name, scales=None):
    """The recording of one network, or of one kind of its scales."""
    start = f"avx2/{name}/" + (f"{scales}/" if scales else "")
    return {key.removeprefix(start): array for key, array in recordings.load("domino").items() if key.startswith(start)}


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 900, "height": 1100})
    page.add_script_tag(content=f"{SOURCE}; Object.assign(globalThis, {{ {EXPORTS} }})", type="module")
    page.wait_for_function("'lean' in globalThis")
    yield page
    page.close()


@pytest.fixture
def alive(page):
    """The page with MobileNetV2's dominoes, which hears from nobody but the reader."""
    show_widget(page, Domino(layer=3), "domino")
    return page


def chosen(page):
    """Scales, mistake and layer, after a frame."""
    page.wait_for_timeout(60)
    return tuple(page.evaluate("['scales', 'mistake', 'layer'].map((name) => model.get(name))"))


@pytest.mark.parametrize(("name", "scales"), KINDS)
def test_every_integer_of_pytorchs_networks(name, scales):
    """The checksums of all layers: the drawn networks are these, and qlearn's integers PyTorch's."""
    net, right = network(name, scales), found(name, scales)
    values = net.run(drawn.image(), keep=True)
    sums = [crc32(np.ascontiguousarray(values[step.name].int_repr())) for step in net.steps]
    compare("network, recorded", np.array(sums, np.uint32), right["checksums"])
    about = found(name)
    assert [step.name for step in net.steps] == about["layers"].tolist()
    assert [step.op for step in net.steps] == about["ops"].tolist()
    assert [values[step.name].size for step in net.steps] == about["elements"].tolist()
    assert values[net.steps[-1].name].int_repr().argmax() == right["top"]


@pytest.mark.parametrize(("name", "scales"), KINDS)
def test_qlearns_dominoes_fall_as_pytorchs_do(name, scales):
    """Counts of all layers, a few layers of each mistake; the last bit in most of all."""
    net, right = network(name, scales), found(name, scales)
    values = {"x": drawn.image()} | net.run(drawn.image(), keep=True)
    last, cases = net.steps[-1].name, 0
    for m, mistake in enumerate(NAMES):
        own = right["counts"][m].diagonal()
        shown = np.flatnonzero(own > 0)
        layers = {*shown[:: max(1, len(shown) // 2)], *np.flatnonzero(own <= 0)[::20]}
        for layer in sorted(layers):
            step = net.steps[layer]
            codes = flawed(step, values, values[step.name].int_repr(), mistake)
            assert (codes is None) == (own[layer] < 0)
            if codes is None:
                continue
            wrong = net.run(drawn.image(), keep=True, given={step.name: codes})
            counts = [np.count_nonzero(wrong[s.name].int_repr() != values[s.name].int_repr()) for s in net.steps]
            compare("network with a mistake, recorded", counts, right["counts"][m, layer].astype(int), (mistake, layer))
            logits = wrong[last].int_repr().astype(int)
            most = np.abs(logits - values[last].int_repr()).max()
            assert [most, logits.argmax()] == right["logits"][m, layer].tolist()
            cases += 1
    assert cases > 15


def test_what_the_recording_says():
    """What the chapters tell of it: a last bit that dies, one that reaches everything, ties that the scales make."""
    for name, scales in KINDS:
        counts = found(name, scales)["counts"]
        n = counts.shape[1]
        assert (counts[:, *np.tril_indices(n, -1)] == 0).all()  # nothing before the layer
        assert (counts[0].diagonal() == 1).all()
        shows = dict(zip(NAMES, (counts.diagonal(axis1=1, axis2=2) > 0).sum(1).tolist(), strict=True))
        assert (shows["half away from zero"] > 0) == (shows["zero point"] > 0) == (scales == "twos")
        assert shows["truncation"] > 25 and shows["bias"] > 10
    float64 = found("mobilenet_v2", "observed")["counts"][NAMES.index("float64")].diagonal()
    assert (float64 > 0).sum() == float64.sum() == 1
    resnet, bias = found("resnet18", "observed"), NAMES.index("bias")
    assert 0 < resnet["counts"][bias, 0, 0] < 10 and resnet["logits"][bias, 0, 1] != resnet["top"]
    last_bit = found("mobilenet_v2", "observed")["counts"][0]
    after = (last_bit > 0).sum(1) - 1
    assert after[0] == 0 and after[3] == 61


@pytest.mark.browser
@pytest.mark.parametrize("network_at", range(len(NETWORKS)))
def test_the_page_looks_up_what_was_recorded(page, network_at):
    name, widget = list(NETWORKS.values())[network_at], Domino(network_at)
    sizes = {"mistakes": len(NAMES), "layers": len(widget.layers)}
    numbers = [np.frombuffer(decompress(getattr(widget, key)), "<i4").tolist() for key in ("counts", "logits")]
    ours = page.evaluate(
        """([counts, logits, sizes]) => {
            const look = recorded(Int32Array.from(counts), Int32Array.from(logits), sizes);
            const all = (n) => Array.from({ length: n }, (_, i) => i);
            return all(2).map((s) => all(sizes.mistakes).map((m) => all(sizes.layers).map((l) =>
                [look(s, m, l), nextShown(look, s, m, l, sizes.layers)])));
        }""",
        [*numbers, sizes],
    )
    compared = 0
    for s, scales in enumerate(SCALES):
        right = found(name, scales)
        for m, layer in np.ndindex(len(NAMES), sizes["layers"]):
            look, following = ours[s][m][layer]
            counts = right["counts"][m, layer].tolist()
            if counts[layer] < 0:
                assert look is None
            else:
                most, top = right["logits"][m, layer].tolist()
                assert look == {"counts": counts, "most": most, "top": top}
            shown = np.flatnonzero(right["counts"][m].diagonal() > 0)
            later = [*shown[shown > layer], *shown[shown <= layer], -1]
            assert following == later[0]
            compared += len(counts)
    assert compared == 2 * len(NAMES) * sizes["layers"] ** 2


@pytest.mark.browser
def test_bars_are_logarithmic_and_dominoes_lean_further_the_more_differs(page):
    heights = page.evaluate("[0, 1, 10, 100, 1000].map((n) => heightOf(n, 1000))")
    assert heights[0] == 0 < heights[1] and heights[4] == 1
    assert np.allclose(np.diff(heights[1:]), heights[2] - heights[1])
    angles = page.evaluate("[[0, 50], [1, 100000], [1, 1000], [10, 1000], [1000, 1000]].map((at) => lean(...at))")
    assert angles[0] == 0 and angles == sorted(angles) and angles[1] == 12 and angles[-1] == 60


@pytest.mark.browser
def test_the_sentence(page):
    now = {"does": "cut", "layers": ["a", "b", "c"], "ops": ["conv2d", "add", "linear"], "elements": [4000, 2000, 10]}
    cases = [
        {"layer": 0, "found": {"counts": [7, 3, 2], "most": 1, "top": 4}},
        {"layer": 0, "found": {"counts": [1, 1, 0], "most": 0, "top": 4}},
        {"layer": 0, "found": {"counts": [1, 0, 0], "most": 0, "top": 4}},
        {"layer": 1, "found": {"counts": [0, 2, 1], "most": 2, "top": 9}},
        {"layer": 1, "found": {"counts": [0, 0, 0], "most": 0, "top": 4}},
        {"layer": 2, "found": {"counts": [0, 0, 1], "most": 1, "top": 4}},
        {"layer": 1, "found": None},
    ]
    said = page.evaluate(
        "([now, cases]) => cases.map((one) => sentence({ ...now, ...one }))",
        [now | {"top": 4, "shown": 2}, cases],
    )
    assert said[0] == (
        "a is a convolution. What is done to it: cut. It changes 7 of the layer’s 4,000 integers. All 2 layers after "
        "it differ too, most of all c, in 2 of 10 integers (20.0 %). 2 of the 10 logits differ, by at most 1 code, and "
        "the largest is still number 4. With these scales it shows in 2 of the 3 layers."
    )
    assert "Of the 2 layers after it 1 differs too, most of all b, in 1 of 2,000 integers (less than 0.1 %)." in said[1]
    assert "The logits do not." in said[1]
    assert "The next layer rounds it away: nothing after it differs." in said[2]
    assert "by at most 2 codes, and the largest is number 9 instead of 4." in said[3]
    assert "It changes none of the layer’s 2,000 integers" in said[4]
    assert "No layer comes after it." in said[5]
    assert "This layer has no such step." in said[6]


@pytest.mark.browser
def test_it_answers_to_mouse_and_keys(alive):
    picture, words = alive.locator(".ql-picture"), alive.locator(".ql-words")
    assert chosen(alive) == (0, 0, 3)
    assert "All 61 layers after it differ too" in words.inner_text()
    picture.focus()
    for key, layer in (
        ("ArrowRight", 4),
        ("ArrowUp", 5),
        ("ArrowLeft", 4),
        ("ArrowDown", 3),
        ("End", 64),
        ("ArrowRight", 64),
        ("Home", 0),
        ("ArrowLeft", 0),
    ):
        alive.keyboard.press(key)
        assert chosen(alive)[2] == layer
    assert "The next layer rounds it away" in words.inner_text()
    box = picture.bounding_box()
    pitch = (box["width"] - 46 - 24) / 65
    alive.mouse.move(box["x"] + 46 + 10.5 * pitch, box["y"] + 100)
    alive.mouse.down()
    assert chosen(alive)[2] == 10
    alive.mouse.move(box["x"] + 46 + 40.5 * pitch, box["y"] + 100)
    assert chosen(alive)[2] == 40
    alive.mouse.move(box["x"] + 4000, box["y"] + 100)
    assert chosen(alive)[2] == 64
    alive.mouse.up()


@pytest.mark.browser
def test_each_choice_is_heard(alive):
    words, row = alive.locator(".ql-words"), alive.locator("tbody tr").first
    button = alive.get_by_role("button", name="next layer where it shows")
    alive.get_by_text("float64", exact=True).click()
    assert chosen(alive)[1] == 1 and "It changes none of the layer’s 18,432 integers" in words.inner_text()
    button.click()
    layer = int(np.flatnonzero(found("mobilenet_v2", "observed")["counts"][1].diagonal() > 0)[0])
    assert chosen(alive) == (0, 1, layer) and button.is_disabled()
    assert "It changes 1 of the layer’s" in words.inner_text()
    alive.get_by_text("powers of two").click()
    assert chosen(alive)[0] == 1 and "shows in 0 of the 65 layers" in words.inner_text() and button.is_disabled()
    alive.get_by_text("half away from zero").click()
    button.click()
    scales, mistake, layer = chosen(alive)
    right = found("mobilenet_v2", "twos")["counts"][mistake, layer]
    cells = [cell.replace(",", "") for cell in row.inner_text().split("\t")]
    assert cells[:4] == [
        "PyTorch 2.14 recorded",
        *(str(n) for n in (right[layer], right[layer + 1 :].sum(), right[-1])),
    ]
    asked = alive.evaluate("model.get('question')")
    assert (asked["scales"], asked["mistake"], asked["layer"]) == (scales, mistake, layer)
    answer = {"id": asked["id"], "version": "9.9", "found": {"counts": right.tolist(), "most": 1, "top": 5}}
    alive.evaluate("(answer) => model.set('answer', answer)", answer)
    alive.wait_for_timeout(60)
    second = alive.locator("tbody tr").nth(1).inner_text().split("\t")
    assert second[0] == "PyTorch 9.9, running" and second[-1] == "5"
    assert second[1:4] == row.inner_text().split("\t")[1:4]


@pytest.mark.parametrize(("name", "value"), [("network", 2), ("scales", 2), ("mistake", len(NAMES)), ("layer", 65)])
def test_a_state_that_is_not_there_is_refused(name, value):
    with pytest.raises(traitlets.TraitError, match=f"{name} must be"):
        Domino(**{name: value})


@pytest.mark.torch
def test_the_running_pytorch_says_what_is_recorded():
    torch = pytest.importorskip("torch")
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("sums have another arithmetic without AVX2 than was recorded")
    before = torch.backends.quantized.engine
    cases = [(0, 0, 0, 0), (0, 1, 4, 11), (1, 0, 1, 7), (1, 0, 1, 8), (1, 1, 3, 3), (1, 0, 8, 4), (1, 0, 8, 3)]
    for number, (kind, scales, mistake, layer) in enumerate(cases):
        widget, right = Domino(kind), found(list(NETWORKS.values())[kind], SCALES[scales])
        widget.question = {"id": number, "scales": scales, "mistake": mistake, "layer": layer}
        answer = widget.answer
        assert answer["id"] == number
        if right["counts"][mistake, layer, layer] < 0:
            assert answer["found"] is None
            continue
        compare("network with a mistake", answer["found"]["counts"], right["counts"][mistake, layer].astype(int))
        assert [answer["found"]["most"], answer["found"]["top"]] == right["logits"][mistake, layer].tolist()
    assert torch.backends.quantized.engine == before
