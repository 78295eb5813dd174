"""The two paths' layout and sums in JavaScript, against Machine.paths and PyTorch's recorded tails (Chapter 8)."""

import numpy as np
import pytest
import traitlets

from qlearn import Machine, recordings
from qlearn.layout import dense_strides
from qlearn.machine import CAPABILITIES
from qlearn.widgets import TwoPaths
from qlearn.widgets.base import module

SOURCE = module("arithmetic.js", "kit.js", "machine.js").replace("export default", "globalThis.twoPaths =")
NAMES = "pathsOf, placeOf, positionOf, pixelsOf, stepsOfSum, chunksOf, tailsRecorded, sentence, rowsOf"
RECORDED = recordings.sources("two_paths")


@pytest.fixture
def page(browser):
    page = browser.new_page()
    page.add_script_tag(content=f"{SOURCE}; Object.assign(globalThis, {{ {NAMES} }})", type="module")
    page.wait_for_function("globalThis.pathsOf")
    yield page
    page.close()


def sizes():
    """Every n up to three blocks, those around where threads and blocks begin, and others."""
    edges = {32768 * k + 64 * j + d for k in range(1, 5) for j in (-1, 0, 1) for d in (-2, -1, 0, 1, 2, 3, 4)}
    return sorted({*range(194), *edges, *np.random.default_rng(8).integers(0, 300_000, 100).tolist()})


@pytest.mark.browser
def test_paths_are_machines(page):
    compared = 0
    for threads in (1, 2, 3, 4, 7):
        ours = page.evaluate("([ns, t]) => ns.map((n) => pathsOf(n, t))", [sizes(), threads])
        for capability in CAPABILITIES:
            machine = Machine("x86", capability, threads)
            theirs = [machine.paths(n) for n in sizes()]
            assert [[tuple(path) for path in paths] for paths in ours] == theirs
            compared += len(theirs)
    assert compared == 15 * len(sizes()) > 5000


@pytest.mark.browser
@pytest.mark.parametrize("capability", RECORDED)
def test_tails_lie_where_pytorchs_were_recorded(page, capability):
    found = recordings.load("two_paths")
    counts, tails = (found[f"{capability}/{name}"] for name in ("counts", "tails"))
    channels, sides = (found[f"{capability}/{name}"].tolist() for name in ("channels", "sides"))
    states, at = [], 0
    for (i, j, last, k), count in np.ndenumerate(counts):
        states.append((channels[i] * sides[j] ** 2, k + 1, tails[at : at + count].tolist(), last))
        at += count
    assert at == len(tails) and len(states) == 896
    ours = page.evaluate(
        """(states) => states.map(([n, threads]) => pathsOf(n, threads).filter(([,, path]) => path === "tail")
            .map(([start, stop]) => [start, stop]))""",
        [state[:2] for state in states],
    )
    assert ours == [state[2] for state in states]
    lookup = page.evaluate(
        """([counts, tails, all, sides]) => {
            const at = tailsRecorded({ counts, tails, all, sides });
            const states = (i, j) => [0, 1].flatMap((f) => [1, 2, 3, 4].map((t) => at(0, i, j, f, t)));
            return all.flatMap((_, i) => sides.flatMap((_, j) => states(i, j)));
        }""",
        [counts.ravel().tolist(), tails.ravel().tolist(), channels, sides],
    )
    assert lookup == [state[2] for state in states]


@pytest.mark.browser
@pytest.mark.parametrize("capability", RECORDED)
def test_a_place_in_memory_is_pytorchs_pixel(page, capability):
    """Position = channel and pixel times the strides that PyTorch's result has, there and back."""
    found = recordings.load("two_paths")
    channels, sides = (found[f"{capability}/{name}"].tolist() for name in ("channels", "sides"))
    for i, c in enumerate(channels):
        for j, side in enumerate(sides[:12]):
            for last in (False, True):
                stride = found[f"{capability}/strides"][i, j, int(last)]
                index = np.indices((1, c, side, side)).reshape(4, -1)
                positions = (stride @ index).tolist()
                if c > 1 and side > 1:
                    assert tuple(stride) == dense_strides((1, c, side, side), channels_last=last)
                ours = page.evaluate(
                    """([cs, ps, channels, side, last]) => {
                        const shape = { channels, side, pixels: side * side };
                        return cs.map((c, k) => {
                            const m = positionOf(c, ps[k], shape, last);
                            const back = placeOf(m, shape, last);
                            return back.c === c && back.p === ps[k] ? m : -1;
                        });
                    }""",
                    [index[1].tolist(), (index[2] * side + index[3]).tolist(), c, side, last],
                )
                assert ours == positions


@pytest.mark.browser
def test_pixels_of_a_stretch_of_memory(page):
    """Each stretch of memory is drawn as one stretch of pixels a channel: none is lost, none is drawn twice."""
    rng = np.random.default_rng(9)
    for channels, side, last in [(c, s, last) for c, s in ((1, 5), (3, 5), (8, 4), (16, 7)) for last in (False, True)]:
        stretches = np.sort(rng.integers(0, channels * side * side + 1, (30, 2)), axis=1).tolist()
        drawn = page.evaluate(
            """([stretches, channels, side, last]) => {
                const shape = { channels, side, pixels: side * side };
                const tiles = Array.from({ length: channels }, (_, c) => c);
                const between = ([from, to]) => Array.from({ length: Math.max(0, to - from) }, (_, k) => from + k);
                return stretches.map(([start, stop]) => tiles.flatMap((c) =>
                    between(pixelsOf(start, stop, c, shape, last)).map((p) => positionOf(c, p, shape, last))));
            }""",
            [stretches, channels, side, last],
        )
        assert [sorted(positions) for positions in drawn] == [list(range(*stretch)) for stretch in stretches]


@pytest.mark.browser
@pytest.mark.parametrize("capability", recordings.sources("elementwise"))
def test_both_sums_are_the_recorded_ones(page, capability):
    """All pairs of the addition table with these scales, and the widget's own pairs."""
    table, own = recordings.load("elementwise"), recordings.load("two_paths")
    assert table[f"{capability}/presets"][0].tolist() == [[0.05, 128], [0.05, 128], [0.1, 128]]
    for path in ("body", "tail"):
        ours = page.evaluate(
            """([capability, path]) => Array.from({ length: 65536 }, (_, k) =>
                stepsOfSum([k >> 8, k & 255], capability, path).code)""",
            [capability.upper(), path],
        )
        np.testing.assert_array_equal(ours, table[f"{capability}/add/0/{path}"].ravel())
    sums = """([pairs, capability]) => pairs.map((pair) =>
        ["body", "tail"].map((path) => stepsOfSum(pair, capability, path).code))"""
    ours = page.evaluate(sums, [own[f"{capability}/pairs"].tolist(), capability.upper()])
    assert ours == own[f"{capability}/values"].tolist()


@pytest.mark.browser
def test_steps_end_in_the_code(page):
    steps = page.evaluate(
        """[["AVX2", "body"], ["AVX2", "tail"], ["DEFAULT", "body"]].map((at) => stepsOfSum([0, 147], ...at))"""
    )
    for step in steps:
        assert step["whole"] + step["after"] == step["code"]
        assert round(step["last"]) - step["whole"] in (-1, 0, 1)
    assert [step["after"] for step in steps] == [128, 0, 0]
    assert [step["code"] for step in steps] == [73, 74, 74]


@pytest.mark.browser
def test_the_sentence_speaks_up_when_pytorch_says_something_else(page):
    said = page.evaluate(
        """() => {
            const shape = { channels: 3, side: 5, pixels: 25 };
            const now = { shape, n: 75, chunks: chunksOf(75, 1), last: false, place: 70, chunk: 0, path: "tail",
                pair: [0, 147], capability: "AVX2", threads: 1 };
            return [{ values: [73, 74], tails: [[64, 75]] }, { values: [73, 73], tails: [[64, 75]] },
                { values: [73, 74], tails: [[63, 75]] }].map((theirs) => sentence({ ...now, theirs }, 73, 74));
        }"""
    )
    assert said[0].endswith("PyTorch’s recorded sums are the same, in the same places.")
    assert "a defect of this page" in said[1] and "a defect of this page" in said[2]
    assert "number 70 in memory (channel 2, row 4, column 0)" in said[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("channels", 4),
        ("side", 28),
        ("memory_format", 2),
        ("threads", 0),
        ("threads", 5),
        ("capability", 3),
        ("pair", 4),
    ],
)
def test_a_state_that_is_not_there_is_refused(name, value):
    with pytest.raises(traitlets.TraitError, match=f"{name} must be"):
        TwoPaths(**{name: value})


@pytest.mark.torch
def test_the_running_pytorch_says_what_is_recorded():
    torch = pytest.importorskip("torch")
    found = recordings.load("two_paths")
    capability = torch.backends.cpu.get_cpu_capability().lower()
    widget, before = TwoPaths(), torch.get_num_threads()
    ends = np.cumsum(found[f"{capability}/counts"].ravel())
    for i, (c, side, last, threads) in enumerate([(0, 0, 0, 1), (1, 4, 1, 1), (3, 21, 1, 4), (2, 27, 0, 2)]):
        question = {"channels": widget.all_channels[c], "side": widget.sides[side], "memory_format": last}
        for k, pair in enumerate(widget.pairs):
            widget.question = {"id": 10 * i + k, **question, "threads": threads, "pair": pair}
            assert widget.answer["id"] == 10 * i + k
            body, tail = found[f"{capability}/values"][k].tolist()
            assert widget.answer["values"] == [body, tail]
            at = np.ravel_multi_index((c, side, last, threads - 1), found[f"{capability}/counts"].shape)
            start = int(ends[at]) - int(found[f"{capability}/counts"].ravel()[at])
            recorded = found[f"{capability}/tails"][start : ends[at]].tolist()
            assert widget.answer["tails"] == (recorded if body != tail else None)
    assert torch.get_num_threads() == before
