"""The two paths' layout and sums in JavaScript, against Machine.paths and PyTorch's recorded tails (Chapter 8)."""

import numpy as np
import pytest
import traitlets

from qlearn import Machine, recordings
from qlearn.machine.layout import dense_strides
from qlearn.machine.machine import CAPABILITIES
from qlearn.machine.releases import ZERO_POINT_FIRST, release_of
from qlearn.widgets import TwoPaths
from qlearn.widgets.base import RELEASES, module

SOURCE = module("machine.js").replace("export default", "globalThis.twoPaths =")
NAMES = "pathsOf, placeOf, positionOf, pixelsOf, stepsOfSum, chunksOf, tailsRecorded, sentence, rowsOf"
RECORDED = [name.lower() for name in CAPABILITIES]


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
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("capability", RECORDED)
def test_tails_lie_where_pytorchs_were_recorded(page, capability, release):
    """In each release; so the widget carries those of one."""
    found = recordings.load("two_paths", release)
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


PRESET = 7  # of the addition table: the widget's scales and zero points


@pytest.mark.browser
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("capability", RECORDED)
def test_both_sums_are_the_recorded_ones(page, capability, release):
    """All pairs of the addition table with these scales, and the widget's own pairs."""
    table, own = recordings.load("addition_table", release), recordings.load("two_paths", release)
    parameters = [[s, int(z)] for s, z in own[f"{capability}/parameters"].tolist()]
    assert table[f"{capability}/presets"][PRESET].tolist() == own[f"{capability}/parameters"].tolist()
    found = {}
    for path in ("body", "tail"):
        found[path] = page.evaluate(
            """(at) => Array.from({ length: 65536 }, (_, k) => stepsOfSum([k >> 8, k & 255], ...at).code)""",
            [parameters, release, capability.upper(), path],
        )
        np.testing.assert_array_equal(found[path], table[f"{capability}/{PRESET}/{path}"].ravel())
    parted = np.count_nonzero(np.array(found["body"]) != found["tail"])
    assert parted == {"2.14": (0, 6770), "2.13": (226, 7996)}[release][capability != "default"]
    sums = """([pairs, ...at]) => pairs.map((pair) =>
        ["body", "tail"].map((path) => stepsOfSum(pair, ...at, path).code))"""
    ours = page.evaluate(sums, [own[f"{capability}/pairs"].tolist(), parameters, release, capability.upper()])
    assert ours == own[f"{capability}/values"].tolist()


def test_the_pairs_part_where_they_are_said_to():
    """The first in every release on AVX2, the others in some, the last nowhere; tools/recorders/two_paths.py."""
    parts = {
        (release, capability): [
            body != tail for body, tail in recordings.load("two_paths", release)[f"{capability}/values"].tolist()
        ]
        for release in RELEASES
        for capability in RECORDED
    }
    assert parts["2.14", "avx2"] == parts["2.14", "avx512"] == [True, True, False, False, False]
    assert parts["2.13", "avx2"] == parts["2.13", "avx512"] == [True, False, True, False, False]
    assert parts["2.14", "default"] == [False] * 5
    assert parts["2.13", "default"] == [False, False, False, True, False]


@pytest.mark.parametrize("version", recordings.releases("two_paths"))
def test_every_recorded_release_is_one_of_the_two(version):
    """But for AVX512 in 1.13 and 2.0, which takes 128 elements at a time, as the widget says."""
    theirs = recordings.load("two_paths", version)
    ours = recordings.load("two_paths", RELEASES[ZERO_POINT_FIRST.holds(release_of(version))])
    differ = [key for key, array in theirs.items() if not np.array_equal(array, ours[key])]
    assert differ == (["avx512/counts", "avx512/tails"] if release_of(version) in ("1.13", "2.0") else [])
    if differ:
        lengths = np.diff(theirs["avx512/tails"])
        assert 64 <= lengths.max() < 128


@pytest.mark.browser
def test_steps_end_in_the_code(page):
    paths = ("2.14", "AVX2", "body"), ("2.14", "AVX2", "tail"), ("2.14", "DEFAULT", "body"), ("2.13", "AVX2", "tail")
    steps = page.evaluate(
        "([parameters, paths]) => paths.map((at) => stepsOfSum([36, 101], parameters, ...at))",
        [TwoPaths().parameters, paths],
    )
    for step in steps:
        assert step["whole"] + step["after"] == step["code"]
        assert round(step["last"]) - step["whole"] in (-1, 0, 1)
    assert [step["after"] for step in steps] == [128, 128, 128, 0]
    assert [step["code"] for step in steps] == [97, 96, 96, 96]
    assert steps[0]["b"] != steps[1]["b"] and steps[0]["last"] != steps[1]["last"]  # they part by the dequantization


@pytest.mark.browser
def test_the_sentence_speaks_up_when_pytorch_says_something_else(page):
    said = page.evaluate(
        """() => {
            const shape = { channels: 3, side: 5, pixels: 25 };
            const now = { shape, n: 75, chunks: chunksOf(75, 1), last: false, place: 70, chunk: 0, path: "tail",
                pair: [36, 101], capability: "AVX2", release: "2.14", threads: 1 };
            return [{ values: [97, 96], tails: [[64, 75]] }, { values: [97, 97], tails: [[64, 75]] },
                { values: [97, 96], tails: [[63, 75]] }].map((theirs) => sentence({ ...now, theirs }, 97, 96));
        }"""
    )
    assert said[0].endswith("The recorded sums of PyTorch 2.14 are the same, in the same places.")
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
        ("pair", 5),
    ],
)
def test_a_state_that_is_not_there_is_refused(name, value):
    with pytest.raises(traitlets.TraitError, match=f"{name} must be"):
        TwoPaths(**{name: value})


@pytest.mark.torch
def test_the_running_pytorch_says_what_is_recorded_of_it():
    torch = pytest.importorskip("torch")
    found = recordings.load("two_paths", torch.__version__)
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
