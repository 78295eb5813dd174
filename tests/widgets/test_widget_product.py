"""The product's nine formulas in JavaScript, against PyTorch's recorded products and qlearn's (Chapter 5)."""

import base64
import zlib

import numpy as np
import pytest
import traitlets

import qlearn
import recorded
from browser import show_widget
from qlearn import Machine, QTensor
from qlearn.codes.rounding import reciprocal
from qlearn.network.arithmetic import fixed_point
from qlearn.widgets import Product
from qlearn.widgets.base import module
from qlearn.widgets.product import on_paper, recorded_products

SOURCE = module("product.js").replace("export default", "globalThis.product_widget =")
NAMES = "FORMULAS, PAPER, fixedPoint, nextParting, product, productTable, restored"
TEXT = """(codes) => btoa(Array.from(codes, (code) => String.fromCharCode(code)).join(""))"""
TABLES = f"""(presets) => presets.map(([[s1, z1], [s2, z2], [s, z]]) => FORMULAS.map(({{ make }}) => {{
    const p = {{ s1, z1, s2, z2, s, z }};
    return ({TEXT})(productTable(make(p), p));
}}))"""
RESTORED = f"""([text, presets]) => {{
    const stored = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return presets.map(([[s1, z1], [s2, z2], [s, z]], i) => {{
        const p = {{ s1, z1, s2, z2, s, z }};
        return ({TEXT})(restored(stored, i, productTable(FORMULAS[PAPER].make(p), p)));
    }});
}}"""
FORMULAS = (
    "pytorch",
    "divided",
    "other way round",
    "m in float64",
    "paper",
    "like add",
    "z before",
    "single",
    "gemmlowp",
)
CODES = np.arange(256)


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 800, "height": 1000})
    page.add_script_tag(content=f"{SOURCE}; Object.assign(globalThis, {{ {NAMES} }})", type="module")
    page.wait_for_function("'FORMULAS' in globalThis")
    yield page
    page.close()


@pytest.fixture
def alive(page):
    show_widget(page, Product(), "product_widget")
    return page


def read(text):
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(256, 256)


def tables_of(page, presets):
    """The codes of each formula, [preset][formula] (256, 256)."""
    return [[read(text) for text in row] for row in page.evaluate(TABLES, presets)]


def in_numpy(preset):
    """The same codes by NumPy and qlearn, in the order of ``FORMULAS``."""
    (s1, z1), (s2, z2), (s, z) = preset
    f, r = np.float32, reciprocal(s)
    c = (CODES[:, None] - z1) * (CODES - z2)
    m = f(s1) * f(s2) * r
    real = (CODES - z1).astype(f)[:, None] * f(s1) * ((CODES - z2).astype(f) * f(s2))
    numbers = {
        "pytorch": c.astype(f) * m,
        "divided": c.astype(f) * (f(s1) * f(s2) / f(s)),
        "other way round": c.astype(f) * (f(s1) * (f(s2) * r)),
        "m in float64": c.astype(f) * f(s1 * s2 / s),
        "paper": s1 * s2 * c / s,
        "like add": real * r,
    }
    codes = {name: np.rint(y).astype(int) + z for name, y in numbers.items()}
    codes["z before"] = np.rint(c.astype(f) * m + f(z)).astype(int)
    codes |= {how: fixed_point(c, s1 * s2 / s, how) + z for how in ("single", "gemmlowp")}
    return [np.clip(codes[name], 0, 255) for name in FORMULAS]


def drawn(rng, count):
    """Presets whose multiplier is between 2^-8 and 8: tidy scales, powers of two, and others."""
    tidy = [*(np.arange(1, 31) / 100), *(2.0 ** np.arange(-6, 0))]
    while count:
        s1, s2, s = (float(rng.choice(tidy) if rng.integers(3) else rng.uniform(0.003, 0.5)) for _ in range(3))
        if 2**-8 < s1 * s2 / s < 8:
            count -= 1
            yield [[s1, int(rng.integers(256))], [s2, int(rng.integers(256))], [s, int(rng.integers(256))]]


@pytest.mark.browser
def test_pytorchs_formula_gives_every_recorded_product(page):
    """Of every release, capability and path; those of the widget and those of the element-wise operators."""
    total = 0
    for name, key in (("product", "presets"), ("elementwise", "products")):
        sources = recorded.sources(name)
        presets = [[[s, int(z)] for s, z in preset] for preset in sources[0].arrays[key].tolist()]
        ours = [tables[0] for tables in tables_of(page, presets)]
        for source in sources:
            np.testing.assert_array_equal(source.arrays[key], sources[0].arrays[key])
            for i, table in enumerate(ours):
                for path in ("body", "tail"):
                    theirs = source.arrays[f"mul/{i}/{path}"]
                    np.testing.assert_array_equal(table, theirs, err_msg=f"{source} {i} {path}")
                    total += table.size
    assert total >= (5 * 3 + 4 * 3 * 8) * 2 * 65536


@pytest.mark.browser
def test_every_other_formula_is_what_its_name_says_and_is_caught(page, rng):
    presets, products = recorded_products()
    wrong = np.zeros(len(FORMULAS), int)
    for preset, theirs, tables in zip(presets, products, tables_of(page, presets), strict=True):
        for name, ours, right in zip(FORMULAS, tables, in_numpy(preset), strict=True):
            np.testing.assert_array_equal(ours, right, err_msg=f"{preset} {name}")
        wrong += [np.count_nonzero(table != theirs) for table in tables]
    assert np.flatnonzero(wrong == 0).tolist() == [0]  # the presets tell all others from PyTorch's
    for preset, tables in zip(others := list(drawn(rng, 30)), tables_of(page, others), strict=True):
        for name, ours, right in zip(FORMULAS, tables, in_numpy(preset), strict=True):
            np.testing.assert_array_equal(ours, right, err_msg=f"{preset} {name}")
        a, b = (
            QTensor(np.broadcast_to(q, (256, 256)).astype(np.uint8), *own, "quint8")
            for q, own in zip((CODES[:, None], CODES), preset, strict=False)
        )
        theirs = qlearn.mul(a, b, *preset[2], machine=Machine("fbgemm", "AVX2", 1)).int_repr()
        np.testing.assert_array_equal(tables[0], theirs, err_msg=str(preset))


def test_no_two_formulas_are_one():
    """For each two of the nine there is a product of the presets of which they give other codes."""
    tables = [np.array(table) for table in zip(*map(in_numpy, recorded_products()[0]), strict=True)]
    for i, one in enumerate(tables):
        for other in tables[i + 1 :]:
            assert (one != other).any()


def test_what_the_chapter_says_of_31_bits():
    """With the first scales both agree with PyTorch everywhere, with all others neither does."""
    presets, products = recorded_products()
    for i, (preset, theirs) in enumerate(zip(presets, products, strict=True)):
        wrong = [np.count_nonzero(table != theirs) for table in in_numpy(preset)[-2:]]
        assert wrong == [0, 0] if i == 0 else min(wrong) > 0


@pytest.mark.browser
def test_the_page_unpacks_the_recorded_bytes(page):
    presets, products = recorded_products()
    widget = Product()
    assert len(widget.tables) < 5000
    stored = base64.b64encode(zlib.decompress(widget.tables)).decode()
    for text, theirs in zip(page.evaluate(RESTORED, [stored, presets]), products, strict=True):
        np.testing.assert_array_equal(read(text), theirs)
    # and the bytes hold more than the formula on paper
    assert (products[:4] != [on_paper(preset) for preset in presets[:4]]).any(axis=(1, 2)).all()


@pytest.mark.browser
def test_a_multiplier_of_31_bits(page, rng):
    for m in [1.0, 0.5, 0.75, 1 - 2.0**-40, 3.0, 0.01, 2.0**-12, *rng.uniform(0.001, 8, 50)]:
        found = page.evaluate("fixedPoint", float(m))
        assert 2**30 <= found["M"] < 2**31
        assert abs(found["M"] / 2.0 ** found["shift"] - m) * 2.0 ** found["shift"] <= 0.5


@pytest.mark.browser
def test_the_next_pair_on_which_they_part(page):
    found = page.evaluate("""() => {
        const [theirs, one, other] = [0, 1, 2].map(() => new Uint8Array(65536));
        const none = nextParting(theirs, [one, other], 7);
        one[9] = 1; other[5] = 1;
        return [none, nextParting(theirs, [one, other], 7), nextParting(theirs, [one, other], 9)];
    }""")
    assert found == [7, 9, 5]


@pytest.mark.browser
def test_the_figure_says_what_the_nine_formulas_give(alive):
    """At the pair it opens with, and at pairs that its button finds."""
    presets, products = recorded_products()
    seen = set()
    for _ in range(4):
        preset, q1, q2 = alive.evaluate("['preset', 'q1', 'q2'].map((name) => model.get(name))")
        theirs, codes = products[preset][q1, q2], [table[q1, q2] for table in in_numpy(presets[preset])]
        said = alive.locator(".ql-picture text.ql-number").all_text_contents()
        assert said == [str(code) if code == theirs else f"≠ {code}" for code in codes]
        differ = np.count_nonzero(np.array(codes) != theirs)
        assert f"PyTorch gives {theirs}, {differ} of the eight others" in alive.locator(".ql-words").inner_text()
        assert differ > 0 and (q1, q2) not in seen
        seen.add((q1, q2))
        alive.get_by_role("button", name="Next pair").click()
        alive.wait_for_timeout(60)
    alive.locator("label", has_text="0.5 · 0.5 / 0.5").click()
    alive.wait_for_timeout(60)
    wrong = [np.count_nonzero(table != products[4]) for table in in_numpy(presets[4])[1:]]
    said = [text for text in alive.locator(".ql-picture text").all_text_contents() if text.endswith(" wrong")]
    assert said == [f"{count:,} wrong" if count else "none wrong" for count in wrong]


@pytest.mark.browser
def test_a_product_that_the_clamp_hides(alive):
    alive.evaluate("() => { model.set('q1', 255); model.set('q2', 0); }")
    alive.wait_for_timeout(60)
    said = alive.locator(".ql-words").inner_text()
    assert "PyTorch gives 0, all eight others too." in said and "The clamp hides what they do." in said


@pytest.mark.parametrize(("name", "value"), [("preset", 5), ("preset", -1), ("q1", 256), ("q2", -1)])
def test_a_state_that_is_not_there_is_refused(name, value):
    with pytest.raises(traitlets.TraitError, match=f"{name} must be 0 to"):
        Product(**{name: value})


@pytest.mark.torch
def test_the_running_pytorch_says_what_is_recorded_of_it(rng):
    pytest.importorskip("torch")
    presets, products = recorded_products()
    widget = Product()
    for i, (preset, theirs) in enumerate(zip(presets, products, strict=True)):
        for j in range(20):
            q1, q2 = (int(q) for q in rng.integers(0, 256, 2))
            widget.question = {"id": 20 * i + j, "codes": [q1, q2], "preset": preset}
            assert widget.answer["id"] == 20 * i + j and widget.answer["code"] == theirs[q1, q2]
