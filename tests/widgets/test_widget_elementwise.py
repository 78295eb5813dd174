"""The addition table in JavaScript, against PyTorch's recorded sums and qlearn.add (Chapter 4)."""

import base64
import zlib

import numpy as np
import pytest
import traitlets

import qlearn
from qlearn import Machine, QTensor, recordings
from qlearn.codes.rounding import fma
from qlearn.machine.releases import ZERO_POINT_FIRST, release_of
from qlearn.widgets import AdditionTable
from qlearn.widgets.base import RELEASES, module
from qlearn.widgets.elementwise import FORMULAS, PRESETS, TABLES, recorded_sums
from strategies import EXTREME, TIE_RICH

TABLE = module("elementwise.js").replace("export default", "globalThis.widget =")
TEXT = """(table) => btoa(Array.from(table, (code) => String.fromCharCode(code)).join(""))"""
TABLES_OF = f"""([presets, release]) => presets.map(([[s1, z1], [s2, z2], [s, z]]) =>
    [...PATHS[release], ...FORMULAS].map(({{ make }}) => {{
        const adder = make({{ s1, z1, s2, z2, s, z }});
        return ({TEXT})(adder ? additionTable(adder) : []);
    }}))"""
UNPACKED = f"""async (text) => {{
    const tables = await unpack(new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer));
    return [0, 1, 2, 3, 4, 5, 6, 7].map((i) => RELEASES.flatMap((release) =>
        [0, 1, 2, 3].map((j) => ({TEXT})(tables(i, release, j)))));
}}"""
MACHINES = (("fbgemm", "AVX2"), ("fbgemm", "AVX2"), ("fbgemm", "DEFAULT"), ("qnnpack", "AVX2"))  # of TABLES
OWN = {"2.14": (4, 2, 2, 5), "2.13": (4, 7, 6, 5)}  # the formula of each path, in FORMULAS
TWICE, TIDY = 3, 4  # in PRESETS: 0.05 and 0.05 to 0.1, with zero points 100, 100, 128 and three times 128
CODES = np.arange(256, dtype=np.uint8)
PAIRS = CODES.repeat(256), np.tile(CODES, 256)


def load(browser, source, names):
    page = browser.new_page()
    page.add_script_tag(content=f"{source}; Object.assign(globalThis, {names})", type="module")
    page.wait_for_function("globalThis.PATHS")
    return page


@pytest.fixture
def table(browser):
    names = "PATHS, FORMULAS, RELEASES, additionTable, addSteps, parting, unpack, compare, nextDifference, runningWords"
    page = load(browser, TABLE, f"{{ {names} }}")
    yield page
    page.close()


def read(rows):
    """Tables as texts of base64 -> arrays."""
    return [[np.frombuffer(base64.b64decode(text), np.uint8) for text in row] for row in rows]


def tables_of(page, presets, release="2.14"):
    """For each preset the 65,536 codes of each path of a release and each formula; none where it refuses."""
    return read(page.evaluate(TABLES_OF, [presets, release]))


def recorded(release="2.14"):
    """The presets, and of each PyTorch's sums on each path."""
    found = recordings.load("addition_table", release)
    presets = [[[s, int(z)] for s, z in preset] for preset in found["avx2/presets"].tolist()]
    return presets, [[found[key.format(i)].ravel() for key in TABLES] for i in range(len(presets))]


@pytest.mark.browser
@pytest.mark.parametrize("release", RELEASES)
def test_every_recorded_sum_of_every_path_and_each_other_formula_is_caught(table, release):
    presets, theirs = recorded(release)
    wrong, total = np.zeros((len(TABLES), FORMULAS), int), 0
    for ours, right in zip(tables_of(table, presets, release), theirs, strict=True):
        paths, formulas = ours[: len(TABLES)], ours[len(TABLES) :]
        for mine, codes in zip(paths, right, strict=True):
            np.testing.assert_array_equal(mine, codes)
            total += codes.size
        wrong += [[np.count_nonzero(formula != codes) for formula in formulas] for codes in right]
    assert total == 8 * 4 * 65536
    for path, own in enumerate(OWN[release]):
        assert np.flatnonzero(wrong[path] == 0).tolist() == [own]  # the presets tell all others from this path's


@pytest.mark.parametrize(
    ("preset", "release", "parted"),
    [(TWICE, "2.14", 6770), (TWICE, "2.13", 7996), (TIDY, "2.14", 0), (TIDY, "2.13", 5006)],
)
def test_body_and_tail_part_where_the_zero_points_are_no_powers_of_two(preset, release, parted):
    """In all releases; with the tidy zero points in 2.13 alone."""
    body, tail, default, _ = recorded_sums()[preset, RELEASES.index(release)]
    assert np.count_nonzero(body != tail) == parted
    assert (tail != default).any() == (release == "2.13")


@pytest.mark.parametrize("version", recordings.releases("addition_table"))
def test_every_recorded_release_is_one_of_the_two(version):
    theirs = recordings.load("addition_table", version)
    ours = recordings.load("addition_table", RELEASES[ZERO_POINT_FIRST.holds(release_of(version))])
    assert {key for key, array in theirs.items() if not np.array_equal(array, ours[key])} == set()


@pytest.mark.browser
@pytest.mark.parametrize("release", RELEASES)
def test_the_paths_are_those_of_the_library_for_random_and_extreme_parameters(table, rng, release):
    drawn = [
        [[float(rng.choice([*TIE_RICH, *EXTREME, rng.uniform(1e-3, 1)])), int(rng.integers(256))] for _ in "abo"]
        for _ in range(40)
    ]
    refused = 0
    for params, ours in zip(drawn, tables_of(table, drawn, release), strict=True):
        a, b = (QTensor(q, *p, "quint8") for q, p in zip(PAIRS, params, strict=False))
        for path, (engine, capability) in enumerate(MACHINES):
            machine = Machine(engine, capability, 1, release=release)
            try:
                if TABLES[path].endswith("tail"):
                    spread = [
                        QTensor(np.repeat(t.int_repr(), 2)[::2], t.q_scale(), t.q_zero_point(), "quint8")
                        for t in (a, b)
                    ]
                    theirs = qlearn.add(*spread, *params[2], machine=machine).int_repr()
                else:
                    theirs = qlearn.add(a, b, *params[2], machine=machine).int_repr()
            except ValueError:
                refused += 1
                assert ours[path].size == 0, (params, path)
                continue
            np.testing.assert_array_equal(ours[path], theirs, err_msg=f"{params}, {TABLES[path]}")
    assert refused < 40  # qnnpack alone refuses, and not always


@pytest.mark.browser
def test_the_formulas_that_are_not_pytorchs_are_what_their_names_say(table):
    presets, _ = recorded()
    q1, q2 = (q.astype(int) for q in PAIRS)
    f = np.float32
    for (one, two, out), tables in zip(presets, tables_of(table, presets), strict=True):
        (s1, z1), (s2, z2), (s, z) = one, two, out
        integers, paper, _, onnx = tables[len(TABLES) :][:4]
        np.testing.assert_array_equal(integers, np.clip(q1 - z1 + q2 - z2 + z, 0, 255))
        np.testing.assert_array_equal(paper, np.clip(np.rint((s1 * (q1 - z1) + s2 * (q2 - z2)) / s) + z, 0, 255))
        r1, r2 = f(s1) / f(s), f(s2) / f(s)
        constant = f(z) - fma(r1, f(z1), r2 * f(z2))
        np.testing.assert_array_equal(onnx, np.clip(np.rint(fma(q1, r1, fma(q2, r2, constant))), 0, 255))


@pytest.mark.browser
def test_the_page_unpacks_the_recorded_bytes(table):
    theirs = [recorded(release)[1] for release in RELEASES]  # releases, recorded presets, paths
    widget = AdditionTable()
    assert len(zlib.decompress(widget.tables)) == len(PRESETS) * len(RELEASES) * len(TABLES) * 65536
    assert len(widget.tables) < 70_000  # of a page's megabyte
    unpacked = read(table.evaluate(UNPACKED, base64.b64encode(widget.tables).decode()))
    for found, place in zip(unpacked, PRESETS.values(), strict=True):
        np.testing.assert_array_equal(found, [codes for presets in theirs for codes in presets[place]])


@pytest.mark.browser
def test_differences_are_counted_and_found(table):
    found = table.evaluate("""() => {
        const [theirs, ours] = [new Uint8Array(65536), new Uint8Array(65536)];
        const none = nextDifference(theirs, ours, 7);
        theirs[5] = 1; ours[9] = 2; ours[70] = 1;
        return [none, compare(theirs, ours), nextDifference(theirs, ours, 5), nextDifference(theirs, ours, 70)];
    }""")
    assert found == [7, {"higher": 1, "lower": 2}, 9, 5]


@pytest.mark.browser
def test_formulas_part_where_they_never_meet_again(table):
    def part(one, other, same=True):
        return table.evaluate("([a, b, same]) => parting(a, b, same)", [one, other, same])

    body, tail = [1, 2, 3, 30.5, None, 30, 30], [1, 2, 3, 30.5, 158.5, 31, 31]
    assert part(body, body) == -1
    assert part(body, tail) == 4  # one of them adds the zero point before the rounding
    assert part(body, [1, 2, 3, 30.5, None, 31, 31]) == 5  # ties away from zero
    assert part(body, [1, 2, 3, 30.5 + 2**-19, None, 31, 31]) == 3
    assert part(body, [1.5, 2, 3, 30.5 + 2**-19, None, 31, 31]) == 3  # they met at the sum
    assert part(body, [1, 2.5, 3.5, 31, None, 31, 31]) == 1
    assert part(body, [1.5, 2.5, 3.5, 31, None, 31, 31]) == 0
    assert part(body, [1, 2, 3.5, 31, None, 31, 31]) == 2
    assert part(body, [100, 200, 300, 30.5, None, 31, 31], same=False) == 5  # another unit
    assert part(body, [1, 2, 3, 30.5 + 2**-40, None, 31, 31]) == 5  # the same float32


@pytest.mark.parametrize(
    ("name", "value"), [("preset", len(PRESETS)), ("path", 4), ("formula", FORMULAS), ("q1", 256), ("q2", -1)]
)
def test_a_state_that_the_table_has_not_is_refused(name, value):
    with pytest.raises(traitlets.TraitError, match=f"{name} must be 0 to"):
        AdditionTable(**{name: value})


def test_a_release_that_is_not_there_is_refused():
    with pytest.raises(traitlets.TraitError, match="release"):
        AdditionTable(release="2.12")


@pytest.mark.browser
def test_the_running_pytorch_is_compared_with_its_own_formula(table):
    """On DEFAULT it has no body of AVX2; 2.13 is held to 2.13's formula."""
    said = table.evaluate("""() => {
        const live = { version: "2.13.0+cpu", capability: "AVX2", body: 7, tail: 8, qnnpack: null };
        const codeOf = (path) => (path === PATHS["2.13"][1] ? 8 : 6);
        return [0, 1, 2, 3].map((path) => runningWords(live, path, codeOf));
    }""")
    assert said == [
        " The running PyTorch 2.13.0+cpu says 7, and its formula 6.",
        " The running PyTorch 2.13.0+cpu says 8, as its formula does.",
        " The running PyTorch 2.13.0+cpu (AVX2) has no such path.",
        " The running PyTorch 2.13.0+cpu (AVX2) has no such path.",
    ]


@pytest.mark.torch
def test_the_running_pytorch_says_what_is_recorded_of_it(rng):
    torch = pytest.importorskip("torch")
    presets, theirs = recorded(torch.__version__)
    table = AdditionTable()
    for i, preset in enumerate(presets):
        q1, q2 = (int(q) for q in rng.integers(0, 256, 2))
        question = {"id": 1 + i, "codes": [q1, q2], "preset": preset}
        table.question = question
        said = table.answer
        assert said["id"] == 1 + i
        body = 2 if said["capability"] == "DEFAULT" else 0
        expected = [theirs[i][path][256 * q1 + q2] for path in (body, 1, 3)]
        assert [said["body"], said["tail"], said["qnnpack"]] == expected
    table.question = {"id": 99, "codes": [1, 2], "preset": [[1.0, 0], [1.0, 0], [1e-5, 0]]}
    assert table.answer["qnnpack"] is None  # QNNPACK refuses the ratio of scales


@pytest.mark.browser
@pytest.mark.usefixtures("built_book")
def test_the_table_answers_to_mouse_keys_and_touch(browser, site):
    page = browser.new_page(viewport={"width": 390, "height": 900}, has_touch=True)
    page.goto(f"{site}/book/elementwise.html")
    page.wait_for_selector('[data-widget="alive"]')
    widget = page.locator(".ql-widget").first
    picture, words = widget.locator(".ql-picture"), widget.locator(".ql-words")
    picture.scroll_into_view_if_needed()
    canvas = widget.locator("canvas.ql-pixels").bounding_box()
    assert canvas["width"] % 256 == 0  # a whole number of pixels a cell

    def codes():
        page.wait_for_timeout(60)
        return [int(slider.input_value()) for slider in widget.locator("input[type=range]").all()]

    page.touchscreen.tap(canvas["x"] + 200.5, canvas["y"] + 100.5)
    assert codes() == [100, 200]
    page.mouse.move(canvas["x"] + 30.5, canvas["y"] + 40.5)
    assert codes() == [40, 30]
    picture.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowRight")
    assert codes() == [41, 46]
    before = words.inner_text()
    widget.get_by_role("button", name="Next difference").click()
    page.wait_for_timeout(60)
    assert words.inner_text() != before and "PyTorch 2.14 says" in words.inner_text()
    for label in ("2.13’s tail", "tail"):
        widget.locator(f'label:text-is("{label}")').click()
    page.wait_for_timeout(60)
    assert words.inner_text().startswith("The two differ in 4,678 of")
    widget.locator('label:text-is("2.13")').click()
    page.wait_for_timeout(60)
    assert words.inner_text().startswith("In all 65,536 sums the two give the same integer.")
    page.close()
