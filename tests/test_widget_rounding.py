"""The tie's six formulas in JavaScript, against PyTorch's recorded codes (Chapter 2)."""

import numpy as np
import pytest
import traitlets

from qlearn import recordings
from qlearn.widgets import Tie
from qlearn.widgets.base import module

SOURCE = module("arithmetic.js", "kit.js", "rounding.js").replace("export default", "globalThis.tie =")
CODES = """([x, s, z]) => FORMULAS.map((f) => x.map((v) => apply(f, v, s, z).code))"""
FUSED, TWICE = 5, 3  # places in FORMULAS


def recorded():
    """(scale, zero point, x, per tensor, per channel) of each recorded case and preset."""
    found = recordings.load("rounding")
    names = [("cases", i, "cases/{}") for i in range(len(found["avx2/cases"]))]
    names += [("presets", i, f"ties/{i}/{{}}") for i in range(len(found["avx2/presets"]))]
    for table, i, key in names:
        scale, zero_point = found[f"avx2/{table}"][i]
        rows = (found[f"avx2/{key.format(name)}"] for name in ("x", "tensor", "channel"))
        yield scale, int(zero_point), *(row[i] if table == "cases" else row.ravel() for row in rows)


@pytest.mark.browser
def test_fused_is_per_tensor_and_twice_rounded_is_per_channel(browser):
    page = browser.new_page()
    page.add_script_tag(content=f"{SOURCE}; Object.assign(globalThis, {{ FORMULAS, apply }})", type="module")
    page.wait_for_function("globalThis.FORMULAS")
    wrong, total = np.zeros((6, 2), int), 0
    for scale, zero_point, x, tensor, channel in recorded():
        codes = np.array(page.evaluate(CODES, [x.astype(float).tolist(), float(scale), zero_point]))
        wrong += np.stack([(codes != tensor).sum(axis=1), (codes != channel).sum(axis=1)], axis=1)
        total += x.size
    page.close()
    assert total == 5800
    assert wrong[FUSED, 0] == 0
    assert wrong[TWICE, 1] == 0
    others = np.delete(wrong, FUSED, axis=0)[:, 0], np.delete(wrong, TWICE, axis=0)[:, 1]
    assert (others[0] > 0).all()  # every other formula is caught: the cases tell them apart
    assert (others[1][[0, 2, 3, 4]] > 0).all()


@pytest.mark.parametrize(("name", "value"), [("case", 8), ("case", -1), ("step", 13), ("step", -13), ("scheme", 2)])
def test_a_state_that_is_not_there_is_refused(name, value):
    with pytest.raises(traitlets.TraitError, match=f"{name} must be"):
        Tie(**{name: value})


@pytest.mark.torch
def test_the_running_pytorch_says_what_is_recorded():
    pytest.importorskip("torch")
    found = recordings.load("rounding")
    tie = Tie()
    for i, (scale, zero_point) in enumerate(found["avx2/cases"]):
        for j, x in enumerate(found["avx2/cases/x"][i]):
            tie.question = {"id": 25 * i + j, "x": float(x), "scale": float(scale), "zero_point": int(zero_point)}
            both = [int(found[f"avx2/cases/{scheme}"][i, j]) for scheme in ("tensor", "channel")]
            assert tie.answer["id"] == 25 * i + j
            assert tie.answer["codes"] == both
