"""The grid's arithmetic in JavaScript, against PyTorch's recorded codes and thresholds (Chapter 1)."""

import numpy as np
import pytest
import traitlets

from qlearn import recordings
from qlearn.machine.releases import RELEASES as EVERY
from qlearn.machine.releases import ZERO_POINT_FIRST
from qlearn.widgets import Grid
from qlearn.widgets.base import RELEASES, module

SOURCE = module("affine.js").replace("export default", "globalThis.grid =")
NAMES = """{ DTYPES, RELEASES, clamp, codeAt, dequantize, fma32, nextafter32, nextafter64, quantize, releaseLike,
    rint, unclamped213 }"""


@pytest.fixture
def page(browser):
    page = browser.new_page()
    page.add_script_tag(content=f"{SOURCE}; Object.assign(globalThis, {NAMES})", type="module")
    page.wait_for_function("typeof globalThis.quantize === 'function'")
    yield page
    page.close()


@pytest.fixture(scope="module")
def recorded():
    return recordings.load("affine")


@pytest.mark.browser
def test_every_recorded_threshold_is_where_the_code_steps_up(page, recorded):
    thresholds = recorded["avx2/grid/thresholds"]  # (scales, zero points, 255)
    at = """([xs, s, z, below]) => xs.map((x) => quantize(below ? nextafter32(x, -1) : x, s, z, "quint8"))"""
    total = 0
    for i, scale in enumerate(recorded["avx2/grid/scales"].tolist()):
        for j, zero_point in enumerate(recorded["avx2/grid/zero_points"].tolist()):
            xs = thresholds[i, j].astype(float).tolist()
            assert page.evaluate(at, [xs, scale, zero_point, False]) == list(range(1, 256))
            assert page.evaluate(at, [xs, scale, zero_point, True]) == list(range(255))
            total += 2 * len(xs)
    assert total == 2 * thresholds.size == 32130


@pytest.mark.browser
def test_sweeps_and_codes_are_pytorchs(page, recorded):
    for i, (scale, zero_point, dtype) in enumerate(recorded["avx2/presets"].tolist()):
        name = ("quint8", "qint8")[int(dtype)]
        x = recorded[f"avx2/sweep/{i}/x"].astype(float).tolist()
        codes = page.evaluate("([x, s, z, d]) => x.map((v) => quantize(v, s, z, d))", [x, scale, zero_point, name])
        np.testing.assert_array_equal(codes, recorded[f"avx2/sweep/{i}/q"])
        q = recorded[f"avx2/codes/{i}/q"].astype(int).tolist()
        real = page.evaluate("([q, s, z]) => q.map((v) => dequantize(v, s, z))", [q, scale, zero_point])
        np.testing.assert_array_equal(np.array(real, np.float32), recorded[f"avx2/codes/{i}/x"])


@pytest.mark.browser
def test_sweeps_are_pytorchs_in_the_release_that_adds_first(page):
    found, parted = recordings.load("affine", ZERO_POINT_FIRST.first), 0
    for i, (scale, zero_point, dtype) in enumerate(found["avx2/presets"].tolist()):
        args = [found[f"avx2/sweep/{i}/x"].astype(float).tolist(), scale, zero_point, ("quint8", "qint8")[int(dtype)]]
        codes = page.evaluate("([x, s, z, d]) => x.map((v) => clamp(unclamped213(v, s, z), ...DTYPES[d]))", args)
        others = page.evaluate("([x, s, z, d]) => x.map((v) => quantize(v, s, z, d))", args)
        np.testing.assert_array_equal(codes, found[f"avx2/sweep/{i}/q"])
        parted += np.count_nonzero(np.array(codes) != others)
    assert parted > 0  # the sweeps hold ties


@pytest.mark.browser
def test_each_release_is_like_the_one_that_adds_where_it_does(page):
    like = page.evaluate("(versions) => versions.map(releaseLike)", [f"{release}.1+cpu" for release in EVERY])
    assert [name == ZERO_POINT_FIRST.first for name in like] == [ZERO_POINT_FIRST.holds(release) for release in EVERY]
    assert page.evaluate("RELEASES") == list(RELEASES) and set(like) == set(RELEASES)


@pytest.mark.browser
def test_fma_and_rint_are_those_of_the_library(page, rng):
    from qlearn.codes.rounding import fma

    a, b, c = (
        (rng.normal(size=20_000) * 2.0 ** rng.integers(-40, 40, 20_000)).astype(np.float32).astype(float)
        for _ in range(3)
    )
    c[::2] = np.rint(-a[::2] * b[::2] * rng.uniform(0.5, 2, 10_000)).astype(np.float32)  # near cancellation
    mine = page.evaluate("([a, b, c]) => a.map((v, i) => fma32(v, b[i], c[i]))", [a.tolist(), b.tolist(), c.tolist()])
    np.testing.assert_array_equal(np.array(mine, np.float32), fma(a, b, c))
    halves = np.concatenate(
        [np.arange(-9, 10) / 2, np.nextafter(np.arange(-9, 10) / 2, 99), [2.0**52 + 1, -0.2, 1e300]]
    )
    assert page.evaluate("(x) => x.map(rint)", halves.tolist()) == np.rint(halves).tolist()
    a, c = 1 + 2**-12, 2**-60  # a * a lies half-way between two float32, and float64 has no room for c
    assert page.evaluate("([a, c]) => fma32(a, a, c)", [a, c]) == 1 + 2**-11 + 2**-23 > np.float32(a * a + c)


@pytest.mark.browser
@pytest.mark.usefixtures("built_book")
def test_the_page_shows_pytorchs_numbers_wherever_the_sliders_stand(browser, site, rng):
    from browser import move

    page = browser.new_page()
    page.goto(f"{site}/book/affine.html")
    page.wait_for_selector('[data-widget="alive"]')
    x, scale, zero_point = page.locator(".ql-widget input[type=range]").all()
    for share in rng.uniform(0, 1, (40, 3)):
        move(scale, share[0])
        move(zero_point, share[1])
        page.wait_for_timeout(20)
        move(x, share[2])
        page.wait_for_timeout(40)
        rows = page.locator(".ql-widget tbody tr").all()
        ours, theirs = (row.locator("td").all_inner_texts() for row in rows)
        assert ours == theirs
    page.close()


@pytest.mark.parametrize(
    ("name", "value"), [("scale", 9), ("scale", -1), ("zero_point", 7), ("x", float("nan")), ("x", float("inf"))]
)
def test_a_state_that_is_not_there_is_refused(name, value):
    with pytest.raises(traitlets.TraitError, match=rf"^{name} "):
        Grid(**{name: value})


@pytest.mark.torch
def test_the_running_pytorch_answers(recorded):
    pytest.importorskip("torch")
    grid = Grid()
    grid.question = {"id": 1, "x": 0.693, "scale": 0.02, "zero_point": 75}
    assert grid.answer["id"] == 1
    assert (grid.answer["code"], round(grid.answer["value"], 6)) == (110, 0.7)
