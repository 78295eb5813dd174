"""The range's arithmetic in JavaScript, against every range that PyTorch's answers were recorded for (Chapter 3)."""

import numpy as np
import pytest
import traitlets

from qlearn import recordings
from qlearn.widgets import Range
from qlearn.widgets.base import module
from qlearn.widgets.observers import GRIDS

SOURCE = module("observers.js").replace("export default", "globalThis.range =")
COSTS = """([x, grid, lows, highs]) => lows.map((a) => highs.map((b) => {
    const { scale, zeroPoint, total } = cost(x, a, b, GRIDS[grid]);
    return [scale, zeroPoint, total];
}))"""


@pytest.fixture
def range_page(browser):
    page = browser.new_page()
    page.add_script_tag(content=f"{SOURCE}; Object.assign(globalThis, {{ GRIDS, cost, sentence }})", type="module")
    page.wait_for_function("globalThis.GRIDS")
    yield page
    page.close()


@pytest.mark.browser
def test_scale_zero_point_and_error_are_pytorchs_in_every_recorded_range(range_page):
    found = recordings.load("range")
    total = 0
    for i in range(len(found["avx2/names"])):
        x, lows, highs = (found[f"avx2/{i}/{part}"].astype(float).tolist() for part in ("x", "lows", "highs"))
        for grid in range(len(GRIDS)):
            ours = np.array(range_page.evaluate(COSTS, [x, grid, lows, highs]))  # (lows, highs, 3)
            for j, part in enumerate(("scale", "zero_point", "error")):
                np.testing.assert_array_equal(ours[..., j], found[f"avx2/{i}/{part}"][grid])
            total += ours[..., 0].size
    assert total == sum(found[f"avx2/{i}/scale"].size for i in range(len(found["avx2/names"])))


@pytest.mark.browser
def test_a_grid_that_clamps_elsewhere_gives_another_error(range_page):
    found = recordings.load("range")
    x, low, high = found["avx2/0/x"].astype(float).tolist(), -0.05, 0.05
    reduced, clamped = (
        range_page.evaluate("([x, a, b, clamp]) => cost(x, a, b, { ...GRIDS[1], clamp })", [x, low, high, clamp])
        for clamp in ([0, 255], [0, 127])
    )
    assert reduced["above"] > 0 and clamped["above"] == 0
    assert reduced["total"] < clamped["total"]
    assert reduced["rounding"] + reduced["clipping"] == pytest.approx(reduced["total"])


@pytest.mark.browser
def test_the_sentence_speaks_up_when_pytorch_says_something_else(range_page):
    words = range_page.evaluate(
        """() => {
            const found = cost(new Float32Array([-1, 0.3, 2]), -1, 2, GRIDS[0]);
            const same = { scale: found.scale, zeroPoint: found.zeroPoint, error: found.total };
            const say = (theirs) => sentence({ values: [0, 0, 0] }, GRIDS[0], -1, 2, found, theirs);
            return [say(same), say({ ...same, zeroPoint: 84 }), say(null)];
        }"""
    )
    assert words[0].endswith("PyTorch’s three numbers are the same, to the last bit.")
    assert "a defect of this page" in words[1]
    assert "PyTorch" not in words[2]


def test_the_grids_are_those_of_the_recording():
    options = [", ".join(f"{name}={value}" for name, value in grid.items()) for grid in GRIDS]
    assert options == recordings.load("range")["avx2/grids"].tolist()


@pytest.mark.parametrize(
    ("name", "value"), [("sample", 5), ("sample", -1), ("grid", 4), ("low", np.inf), ("high", np.nan)]
)
def test_a_state_that_is_not_there_is_refused(name, value):
    with pytest.raises(traitlets.TraitError, match=f"{name} must be"):
        Range(**{name: value})


def test_a_range_starts_at_the_extremes_of_its_sample():
    for i, sample in enumerate(Range().samples):
        started = Range(sample=i)
        assert [started.low, started.high] == sample["picks"][0]
    assert Range(low=-2.0).low == -2.0


@pytest.mark.torch
def test_the_running_pytorch_says_what_is_recorded():
    pytest.importorskip("torch")
    found = recordings.load("range")
    widget = Range()
    for sample, grid in np.ndindex(len(widget.samples), len(GRIDS)):
        i, j = (len(found[f"avx2/{sample}/{part}"]) // 2 for part in ("lows", "highs"))
        low, high = float(found[f"avx2/{sample}/lows"][i]), float(found[f"avx2/{sample}/highs"][j])
        widget.question = {"id": 4 * sample + grid, "sample": sample, "grid": grid, "low": low, "high": high}
        assert widget.answer["id"] == 4 * sample + grid
        for part in ("scale", "zero_point", "error"):
            assert widget.answer[part] == found[f"avx2/{sample}/{part}"][grid, i, j]
