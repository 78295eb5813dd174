"""The tie's six formulas in JavaScript, against PyTorch's recorded codes of two releases (Chapter 2)."""

import numpy as np
import pytest
import traitlets

from qlearn import recordings
from qlearn.machine.releases import ZERO_POINT_FIRST, release_of
from qlearn.widgets import Tie
from qlearn.widgets.base import RELEASES, module

SOURCE = module("rounding.js").replace("export default", "globalThis.tie =")
CODES = """([x, s, z]) => FORMULAS.map((f) => x.map((v) => apply(f, v, s, z).code))"""
SCHEMES = ("tensor", "channel")


def recorded(release):
    """(scale, zero point, x, codes per tensor, per channel) of each recorded case and preset."""
    found = recordings.load("rounding", release)
    names = [("cases", i, "cases/{}") for i in range(len(found["avx2/cases"]))]
    names += [("presets", i, f"ties/{i}/{{}}") for i in range(len(found["avx2/presets"]))]
    for table, i, key in names:
        scale, zero_point = found[f"avx2/{table}"][i]
        rows = (found[f"avx2/{key.format(name)}"] for name in ("x", *SCHEMES))
        yield scale, int(zero_point), *(row[i] if table == "cases" else row.ravel() for row in rows)


@pytest.fixture
def page(browser):
    page = browser.new_page()
    page.add_script_tag(content=f"{SOURCE}; Object.assign(globalThis, {{ FORMULAS, PYTORCH, apply }})", type="module")
    page.wait_for_function("globalThis.FORMULAS")
    yield page
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("release", RELEASES)
def test_one_formula_of_six_is_pytorchs(page, release):
    """In each release and scheme the one that the page calls so is always right; each other is caught."""
    wrong, total = np.zeros((6, 2), int), 0
    for scale, zero_point, x, *right in recorded(release):
        codes = np.array(page.evaluate(CODES, [x.astype(float).tolist(), float(scale), zero_point]))
        wrong += np.stack([(codes != theirs).sum(axis=1) for theirs in right], axis=1)
        total += x.size
    assert total == 5800
    own = page.evaluate("PYTORCH")
    assert own == {"2.14": [2, 2], "2.13": [5, 3]}
    for scheme, formula in enumerate(own[release]):
        assert np.flatnonzero(wrong[:, scheme] == 0).tolist() == [formula]


@pytest.mark.browser
def test_the_figure_opens_where_the_formulas_part(page):
    """Case 4 with an odd zero point, three steps above the tie: three formulas are wrong, in each release."""
    for release in RELEASES:
        scale, zero_point, x, tensor, _ = list(recorded(release))[4]
        codes = np.array(page.evaluate(CODES, [x.astype(float).tolist(), float(scale), zero_point]))[:, 12 + 3]
        assert zero_point % 2 == 1 and (codes != tensor[12 + 3]).sum() == 3


@pytest.mark.parametrize(("name", "value"), [("case", 8), ("case", -1), ("step", 13), ("step", -13), ("scheme", 2)])
def test_a_state_that_is_not_there_is_refused(name, value):
    with pytest.raises(traitlets.TraitError, match=f"{name} must be"):
        Tie(**{name: value})


@pytest.mark.parametrize("version", recordings.releases("rounding"))
def test_every_recorded_release_is_one_of_the_two(version):
    theirs = recordings.load("rounding", version)
    ours = recordings.load("rounding", RELEASES[ZERO_POINT_FIRST.holds(release_of(version))])
    assert {key for key, array in theirs.items() if not np.array_equal(array, ours[key])} == set()


def test_a_release_that_is_not_there_is_refused():
    with pytest.raises(traitlets.TraitError, match="release"):
        Tie(release="2.12")


@pytest.mark.torch
def test_the_running_pytorch_says_what_is_recorded_of_it():
    torch = pytest.importorskip("torch")
    found = recordings.load("rounding", torch.__version__)
    tie = Tie()
    for i, (scale, zero_point) in enumerate(found["avx2/cases"]):
        for j, x in enumerate(found["avx2/cases/x"][i]):
            tie.question = {"id": 25 * i + j, "x": float(x), "scale": float(scale), "zero_point": int(zero_point)}
            assert tie.answer["id"] == 25 * i + j
            assert tie.answer["codes"] == [int(found[f"avx2/cases/{scheme}"][i, j]) for scheme in SCHEMES]
