"""Find my wrong integer: what is typed, pasted and dropped; whose number it is; the page as its reader uses it."""

import base64
import io
import json
import re
import zipfile

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
from qlearn.widgets.base import module, with_imports
from qlearn.widgets.finder_torch import row_of

# ---- what stands in a field ----

SCALE = {"kind": "scale", "label": "scale of a"}
ZERO = {"kind": "zero", "label": "zero point of a"}
CODE = {"kind": "code", "label": "code of a"}
YOURS = {"kind": "code", "label": "yours", "optional": True, "free": True}
ACC = {"kind": "int32", "label": "accumulator"}
REAL = {"kind": "float32", "label": "real number"}
CODES = {"kind": "codes", "label": "codes of the window"}
COUNT = {"kind": "count", "label": "height of the window"}


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        (SCALE, "0.05", 0.05),
        (SCALE, " 1/255 ", 1 / 255),
        (SCALE, "1/32", 1 / 32),
        (SCALE, "1e-3", 1e-3),
        (SCALE, "0x1.99999ap-5", float(np.float32(0.05))),
        (SCALE, "0.05f", 0.05),
        (ZERO, "255", 255),
        (ZERO, "0x7f", 127),
        (ACC, "-2147483648", -(2**31)),
        (REAL, "-0.1", -0.1),
        (REAL, "inf", None),  # JSON has no infinity
        (YOURS, "", None),
        (YOURS, "−3", -3),
        (YOURS, "300", 300),
        (CODES, "3, 200\t17;90", [3, 200, 17, 90]),
        (SCALE, "0,05", "Scale of a: write the decimal comma as a point."),
        (SCALE, "", "Scale of a is missing."),
        (SCALE, "0", "Scale of a must be positive; it is 0."),
        (SCALE, "-1", "Scale of a must be positive; it is -1."),
        (SCALE, "1e39", "Scale of a does not fit into float32: 1e39."),
        (SCALE, "1e-50", "Scale of a does not fit into float32: 1e-50."),
        (SCALE, "abc", "Scale of a is not a number: “abc”."),
        (SCALE, "1/2/3", "Scale of a is not a number: “1/2/3”."),
        (ZERO, "1.5", "Zero point of a must be a whole number; it is 1.5."),
        (CODE, "256", "Code of a must be from 0 to 255, as quint8 is; it is 256."),
        (CODE, "-1", "Code of a must be from 0 to 255, as quint8 is; it is -1."),
        (ACC, "2147483648", "Accumulator must be from -2147483648 to 2147483647, as int32 is; it is 2147483648."),
        (COUNT, "0", "Height of the window must be from 1 to 65536; it is 0."),
        (YOURS, "x", "Yours is not a number: “x”."),
        (YOURS, "1e20", "Yours is larger than any integer here."),
        (CODES, "3 x", "Codes of the window: number 2 is not a whole number."),
        (CODES, "3 256", "Codes of the window, number 2, must be from 0 to 255, as quint8 is; it is 256."),
    ],
)
def test_what_a_reader_types(field, text, expected, tmp_path):
    source = 'import { parse } from "./finder_numbers.js";\nconst answer = ([field, text]) => parse(field, text, "quint8");'
    said = run(source, [field, text], tmp_path)
    assert said == ({"error": expected} if isinstance(expected, str) else {"value": expected})


def test_a_number_is_written_and_stepped(tmp_path):
    source = """import { bitsOf, shortest, stepped } from "./finder_numbers.js";
        const answer = ({ floats, halves }) => ({
            shortest: floats.map((x) => shortest(Math.fround(x))), twice: floats.map((x) => Math.fround(Number(shortest(Math.fround(x)))) === Math.fround(x)),
            bits: floats.map((x) => [bitsOf(Math.fround(x), "float32"), bitsOf(x, "float64")]), ints: halves.map((x) => [bitsOf(x, "int32"), bitsOf(x, "int64")]),
            up: [stepped({ kind: "scale" }, 0.05, 1), stepped({ kind: "scale" }, 0.05, 1, true), stepped({ kind: "code" }, 254, 1, true, "quint8"),
                 stepped({ kind: "code" }, -128, -1, false, "qint8"), stepped({ kind: "code", free: true }, 255, 1), stepped({ kind: "float32" }, 0, -1), stepped({ kind: "scale" }, 2 ** -149, -1)],
        });"""
    floats = [0.05, 1 / 3, -1.5, 1e-45, 3.4e38, 16777216.0, 1e10, 0.0]
    found = run(source, {"floats": floats, "halves": [-1, 97, -(2**31)]}, tmp_path)
    assert all(found["twice"])
    assert found["shortest"][:3] == ["0.05", "0.33333334", "-1.5"]
    assert found["bits"] == [
        [f"0x{np.float32(x).view(np.uint32):08x}", f"0x{np.float64(x).view(np.uint64):016x}"] for x in floats
    ]
    assert found["ints"][0] == ["0xffffffff", "0xffffffffffffffff"] and found["ints"][1][0] == "0x00000061"
    next_up = float(np.nextafter(np.float32(0.05), np.float32(1)))
    ten = np.float32(0.05)
    for _ in range(10):
        ten = np.nextafter(ten, np.float32(1))
    assert found["up"] == [next_up, float(ten), 255, -128, 256, -(2.0**-149), 2.0**-149]


# ---- columns of numbers ----

COLUMNS = """import { columnsOfFile, Malformed, sideBySide } from "./finder_files.js";
const read = async (files) => {
    try {
        const tables = [];
        for (const [name, text] of files) tables.push(await columnsOfFile(name, Uint8Array.from(Buffer.from(text, "base64"))));
        const { names, columns } = sideBySide(tables);
        return { names, columns: columns.map((column) => Array.from(column)) };
    } catch (error) {
        if (!(error instanceof Malformed)) throw error;
        return { why: error.message };
    }
};
const answers = {};
for (const [i, files] of JSON.parse((await import("node:fs")).readFileSync(0)).entries()) answers[i] = await read(files);
process.stdout.write(JSON.stringify(Object.values(answers)));
process.exit(0);
const answer = () => null;"""


def columns(tmp_path, *cases):
    """What each case, a list of (name, bytes), is read as."""
    return run(COLUMNS, [[(name, base64.b64encode(data).decode()) for name, data in case] for case in cases], tmp_path)


TABLE = {"names": None, "columns": [[1, 2], [3, 4.5], [-5, 6]]}
NAMED = {**TABLE, "names": ["q1", "q2", "yours"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,3,-5\n2,4.5,6\n", TABLE),
        ("1\t3\t-5\r\n2\t4.5\t6", TABLE),
        ("  1   3  -5 \n\n 2 4.5 +6\n", TABLE),
        ("1;3;-5\n2;4.5;6\n", TABLE),
        ("1, 3, −5\n0x2, 45e-1, 6 \n", TABLE),
        ("q1,q2,yours\n1,3,-5\n2,4.5,6", NAMED),
        ("\ufeffq1\tq2\tyours\n1\t3\t-5\n2\t4.5\t6", NAMED),
        ("# q1 q2 yours\n1 3 -5\n# a remark\n2 4.5 6\n", NAMED),
        ('"q1","q2","yours"\n"1","3","-5"\n2,4.5,6\n', NAMED),
        ("1,3,-5\n2,x,6\n", "Line 2, column 2 is not a number: “x”."),
        ("q1,q2\n1,3\n2,\n", "Line 3, column 2 is empty."),
        ("1,2\n3\n", "Line 2 has 1 column, those above have 2."),
        ("1 2\n3 4 5\n", "Line 2 has 3 columns, those above have 2."),
        ("1,2,x\n", "Line 1, column 3 is not a number: “x”."),
        ("1;2\n0,5;2\n", "Line 2, column 1 is not a number: “0,5”."),
        ("12abc 3\n4 5\n", "Line 1, column 1 is not a number: “12abc”."),
        ("a,b\n", "There is no line of numbers."),
        ("\n\n", "There is no line of numbers."),
    ],
)
def test_columns_of_a_text(text, expected, tmp_path):
    (found,) = columns(tmp_path, [("data.csv", text.encode())])
    assert found == ({"why": expected} if isinstance(expected, str) else expected)


def test_other_encodings_and_empty_files_are_told(tmp_path):
    found = columns(tmp_path, [("data.csv", "1,2".encode("utf-16"))], [("data.csv", b"")], [("data.npy", b"1,2\n3,4\n")])
    assert [each["why"] for each in found] == [
        "The text is UTF-16; save it as UTF-8.",
        "data.csv is empty.",
        "data.npy is no file of NumPy’s: it does not begin as one.",
    ]


def test_a_text_of_every_kind_of_number(tmp_path, rng):
    numbers_ = rng.normal(size=(300, 3)) * 10.0 ** rng.integers(-30, 30, (300, 3))
    whole = rng.integers(-(2**53), 2**53, (300, 2)) >> rng.integers(0, 52, (300, 2))
    lines = [",".join([*map(repr, a.tolist()), *map(str, b.tolist())]) for a, b in zip(numbers_, whole, strict=True)]
    (found,) = columns(tmp_path, [("a.txt", "\n".join(lines).encode())])
    np.testing.assert_array_equal(np.array(found["columns"], float).T, np.hstack([numbers_, whole]))


def npy(array, version=None):
    """An array as .npy."""
    text = io.BytesIO()
    np.lib.format.write_array(text, array, version=version)
    return text.getvalue()


def test_arrays_of_every_dtype_order_and_version(tmp_path, rng):
    kinds = ("b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")
    cases, expected = [], []
    for kind in kinds:
        for order in "<>":
            for layout in "CF":
                bits = rng.integers(0, 100, (7, 3)) if kind in ("b1", "u8") else rng.normal(size=(7, 3)) * 50
                array = np.asarray((bits > 50) if kind == "b1" else bits).astype(f"{order}{kind}", order=layout)
                cases.append([("a.npy", npy(array, (len(cases) % 3 + 1, 0)))])
                expected.append(array)
    for found, array in zip(columns(tmp_path, *cases), expected, strict=True):
        np.testing.assert_array_equal(np.array(found["columns"]).T, array.astype(np.float64), err_msg=str(array.dtype))


def test_arrays_of_other_shapes(tmp_path):
    line, wide, cube = np.arange(5), np.arange(6).reshape(2, 3), np.arange(24).reshape(2, 3, 4)
    found = columns(
        tmp_path,
        [("q1.npy", npy(line))],
        [("a.npy", npy(wide))],
        [("a.npy", npy(cube))],
        [("a.npy", npy(np.asfortranarray(cube)))],
        [("q1.npy", npy(line)), ("yours.npy", npy(line + 1))],
        [("q1.npy", npy(line)), ("yours.npy", npy(line[1:]))],
    )
    assert found[0] == {"names": ["q1"], "columns": [line.tolist()]}
    assert found[1]["columns"] == wide.tolist()  # the shorter side are the columns
    assert found[2]["columns"] == found[3]["columns"] == [cube.ravel().tolist()]
    assert found[4] == {"names": ["q1", "yours"], "columns": [line.tolist(), (line + 1).tolist()]}
    assert found[5]["why"] == "yours has 4 numbers, q1 has 5."


def test_archives_stored_and_deflated(tmp_path):
    arrays = {"q1": np.arange(999, dtype=np.uint8), "q2": np.arange(999)[::-1], "yours": np.ones(999, np.int8)}
    for save in (np.savez, np.savez_compressed):
        packed = io.BytesIO()
        save(packed, **arrays)
        (found,) = columns(tmp_path, [("a.npz", packed.getvalue())])
        assert found == {"names": list(arrays), "columns": [array.astype(float).tolist() for array in arrays.values()]}


def test_malformed_arrays_are_told(tmp_path):
    good = npy(np.arange(4, dtype=np.int16))
    cases = {
        good[:-1]: "a.npy: a shape of (4,) and <i2 are 8 bytes, the file has 7.",
        good[:40]: "a.npy: its header is cut off.",
        good[:8]: "a.npy: an .npy of 8 bytes is cut off.",
        good[:6] + b"\4" + good[7:]: "a.npy: version 4 of .npy is not known here; 1 to 3 are.",
        good.replace(b"'descr'", b"'deskr'"): "a.npy: its header is not one of NumPy’s.",
        npy(np.zeros(2, complex)): "a.npy: the dtype <c16 is not one of bool, int, uint and float.",
        npy(np.zeros(2, "i4,f4")): "a.npy: its dtype has fields; save each as an array of its own, by np.savez.",
        npy(np.array([0, 2**53 + 1])): "a.npy: element 1, 9007199254740993, is beyond 2⁵³.",
        npy(np.zeros((0, 3))): "a.npy holds no numbers.",
    }
    found = columns(tmp_path, *([("a.npy", data)] for data in cases))
    assert [each["why"] for each in found] == list(cases.values())


def test_malformed_archives_are_told(tmp_path):
    def packed(name="q1.npy", data=npy(np.arange(3)), method=zipfile.ZIP_DEFLATED):
        text = io.BytesIO()
        with zipfile.ZipFile(text, "w", method) as archive:
            archive.writestr(name, data)
        return text.getvalue()

    good = packed()
    broken = bytearray(good)
    broken[45] ^= 0xFF  # in the packed bytes
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    cases = {
        good[:-30]: "a.npz: the end of the archive is missing, as if it were cut off.",
        packed("notes.txt", b"hello"): "a.npz: notes.txt is no .npy.",
        packed(method=zipfile.ZIP_BZIP2): "a.npz: q1.npy is packed by method 12; stored and deflated can be read.",
        empty.getvalue(): "a.npz: it holds no array.",
        good.replace(b"PK\1\2", b"PK\1\1"): "a.npz: entry 1 of the archive’s directory is malformed.",
        packed(data=npy(np.arange(3))[:-1]): "a.npz, q1: a shape of (3,) and <i8 are 24 bytes, the file has 23.",
    }
    found = columns(tmp_path, [("a.npz", bytes(broken))], *([("a.npz", data)] for data in cases))
    assert found[0]["why"].startswith("a.npz: q1.npy ")
    assert [each["why"] for each in found[1:]] == list(cases.values())


@pytest.mark.parametrize(
    ("operator", "names", "count", "expected"),
    [
        ("add", None, 3, ([0, 1], 2)),
        ("add", None, 2, ([0, 1], None)),
        ("add", ["yours", "q2", "q1"], 3, ([2, 1], 0)),
        ("add", ["row", "q1", "q2", "out"], 4, ([1, 2], 3)),
        ("add", ["Code of b", "x", "got"], 3, ([1, 0], 2)),
        ("requantize_conv", None, 2, ([0], 1)),
        ("avg_pool", None, 5, ([[0, 1, 2, 3]], 4)),
        ("avg_pool", ["yours", "a", "b"], 3, ([[1, 2]], 0)),
        ("add", None, 1, ([0, None], None)),
    ],
)
def test_which_column_is_what(operator, names, count, expected, tmp_path):
    source = """import { misplaced, placed } from "./finder_rows.js";
        const answer = ([operator, names, count]) => { const places = placed(operator, names, count); return [places, misplaced(operator, places)]; };"""
    places, wrong = run(source, [operator, names, count], tmp_path)
    assert (places["inputs"], places["yours"]) == expected
    assert wrong == ("No column is the code of b." if None in expected[0] else None)


QUESTION = """import { question } from "./finder_rows.js";
const answer = ({ operator, p, columns, places }) => {
    const table = { columns: columns.map((column) => Float64Array.from(column)) };
    try {
        const asked = question({ operator, p, dtype: p.dtype ?? "quint8", table, places });
        return asked.known.map(({ key }, k) => ({ key, ...asked.count(k, 0, asked.rows), last: asked.next(k, asked.rows, -1), row: asked.row(0) }));
    } catch (error) { return { why: error.message }; }
};"""


@pytest.mark.parametrize("operator", known.OPERATORS)
@pytest.mark.parametrize("n", [300, 3000])  # few are computed, many of codes are looked up
def test_how_many_rows_differ(operator, n, rng, tmp_path):
    p = preset(operator, rng, "quint8", 0)
    drawn = inputs(operator, p, rng, n)
    rows = len(drawn[0])
    given = [c for a in drawn for c in (a.T if a.ndim == 2 else [a])]
    lanes = known.arithmetics(operator, p)
    with np.errstate(invalid="ignore"):  # of numbers that no code is near
        yours = lanes[-1].codes(*drawn)
    wide = operator == "avg_pool"
    places = {"inputs": [list(range(len(given)))] if wide else list(range(len(given))), "yours": len(given)}
    with np.errstate(invalid="ignore"):
        columns_ = [np.asarray(c, float).tolist() for c in (*given, yours)]
    finite = [i for i in range(rows) if all(np.isfinite(c[i]) for c in columns_)]  # JSON holds no other number
    columns_ = [[c[i] for i in finite] for c in columns_]
    found = run(QUESTION, {"operator": operator, "p": p, "columns": columns_, "places": places}, tmp_path)
    for lane, said in zip(lanes, found, strict=True):
        differ = np.flatnonzero(lane.codes(*drawn)[finite] != yours[finite])
        first, last = (differ[0], differ[-1]) if differ.size else (-1, -1)
        assert (said["key"], said["many"], said["first"], said["last"]) == (lane.key, differ.size, first, last)
    assert found[-1]["many"] == 0


def test_rows_that_cannot_be_are_told(tmp_path):
    p = {"s1": 0.05, "z1": 100, "s2": 0.05, "z2": 100, "s": 0.1, "z": 128, "dtype": "quint8"}
    pool = {"s": 0.05, "z": 3, "kh": 2, "kw": 2, "dtype": "quint8"}
    cases = [
        ("add", p, [[1, 256], [1, 2], [3, 4]], "Row 2: the code of a is 256; it must be a whole number from 0 to 255."),
        ("add", p, [[1, 2], [1, 2.5], [3, 4]], "Row 2: the code of b is 2.5; it must be a whole number from 0 to 255."),
        ("add", p, [[1, 2], [1, 2], [3.5, 4]], "Row 1: yours is 3.5; it must be a whole number."),
        ("add", p | {"dtype": "qint8", "z1": 0, "z2": 0, "z": 0}, [[1, 200], [1, 2], [3, 4]], "Row 2: the code of a is 200; it must be a whole number from -128 to 127."),
        ("avg_pool", pool, [[1], [2], [3], [4]], "Columns of the window: 3 stand there, a window of 2 × 2 has 4."),
    ]
    for operator, parameters, given, why in cases:
        places = {"inputs": [[0, 1, 2]] if operator == "avg_pool" else [0, 1], "yours": len(given) - 1}
        asked = {"operator": operator, "p": parameters, "columns": given, "places": places}
        assert run(QUESTION, asked, tmp_path) == {"why": why}


def test_the_sums_of_a_row(rng, tmp_path):
    source = 'import { sumsOf } from "./finder_row.js";\nconst answer = (rows) => rows.map((row) => sumsOf(...row));'
    rows, exact, clamped = [], [], []
    for n in (1, 2, 9, 64):
        x, w, zero = rng.integers(0, 256, n), rng.integers(-128, 128, n), int(rng.integers(256))
        pairs = np.append(x * w, [0] * (n % 2)).reshape(-1, 2).sum(1)
        loss = int((pairs - np.clip(pairs, -32768, 32767)).sum())
        rows.append([" ".join(map(str, x)), ",".join(map(str, w)), str(zero)])
        exact.append(int(((x - zero) * w).sum()))
        clamped.append(exact[-1] - loss)
    found = run(source, [*rows, ["1 2", "3", "0"], ["1 x", "3 4", "0"], ["1", "200", "0"]], tmp_path)
    assert [each["sums"][:2] for each in found[:-3]] == [list(each) for each in zip(exact, clamped, strict=True)]
    assert [each["error"] for each in found[-3:]] == [
        "There are 2 codes and 1 weights.",
        "Codes: number 2 is not a whole number.",
        "Weights, number 1, must be from -128 to 127, as qint8 is; it is 200.",
    ]


# ---- words ----

WORDS = """import { nearTie, verdict, verdictOfMany, wordsOf } from "./finder_words.js";
import { completed, understood } from "./finder_state.js";
import { onPaper } from "./finder_answers.js";
import { arithmetics } from "./known.js";
const answer = ([operator, texts]) => {
    const { p, inputs, yours, errors } = understood(operator, completed(operator, texts));
    if (errors.size > 0) return [...errors];
    const lanes = arithmetics(operator, p).map((lane) => ({ ...lane, code: lane.of(...inputs) }));
    const [headline, note] = verdict(lanes, yours);
    return { said: wordsOf(headline), note, tie: nearTie(onPaper(lanes, inputs)), codes: Object.fromEntries(lanes.map(({ key, code }) => [key, code])) };
};"""
ISSUE = {"s1": "0.040562573820352554", "z1": "112", "q1": "158", "s2": "0.08881603181362152", "z2": "126", "q2": "136"}
ISSUE |= {"s": "0.09029635787010193", "z": "124"}


def test_whose_number_it_is(tmp_path):
    def said(yours, **more):
        return run(WORDS, ["add", {**ISSUE, "yours": yours, **more}], tmp_path)

    found = said("155")
    assert [found["codes"][key] for key in ("body", "tail", "tail-2.13", "default-2.13", "qnnpack")] == [154, 154, 154, 154, 155]
    assert found["said"] == "PyTorch gives 154 or 155, by its path. Yours, 155, is one of them."
    assert found["note"].startswith("It is that of qnnpack. Engine, CPU, release")
    assert "below a tie" in found["tie"]
    assert said("")["said"] == "PyTorch gives 154 or 155, by its path."
    assert said("100")["said"].endswith("Yours, 100, is what none of the known arithmetics gives.")
    odd = {"s1": "1", "z1": "0", "q1": "5", "s2": "1", "z2": "0", "q2": "0", "s": "2", "z": "1"}  # 2.5 steps, odd zero point
    found = said("4", **odd)
    assert [found["codes"][key] for key in ("body", "tail", "tail-2.13", "default-2.13", "qnnpack")] == [3, 3, 4, 4, 4]
    assert found["tie"].endswith("a tie, as far as float64 can tell.")
    assert "3 of its 5 paths" in found["note"]
    refused = said("255", s="1e-5")
    assert "qnnpack" not in refused["codes"] and refused["codes"]["body"] == 255
    assert said("1", s="1e-9") == [["", "S1 / s must be from 2^-24 to below 2^20, got 40562573.820352554."]]


@pytest.mark.parametrize("operator", known.OPERATORS)
def test_the_operators_own_values_are_in_order(operator, tmp_path):
    found = run(WORDS, [operator, {"yours": "100000"}], tmp_path)
    assert found["said"].startswith("PyTorch gives ") and found["said"].endswith("none of the known arithmetics gives.")


def test_a_verdict_on_many_rows(tmp_path):
    source = 'import { verdictOfMany, wordsOf } from "./finder_words.js";\nconst answer = (cases) => cases.map(([lanes, rows]) => verdictOfMany(lanes, rows)).map(([one, two]) => [wordsOf(one), two]);'

    def lanes(*differ):
        kinds = ("pytorch", "pytorch", "mistake", "runtime")
        return [{"kind": kind, "name": f"n{i}", "words": f"words {i}", "key": str(i), "differ": n} for i, (kind, n) in enumerate(zip(kinds, differ, strict=True))]

    found = run(source, [[lanes(*each), 1000] for each in ((0, 0, 0, 9), (0, 7, 0, 9), (8, 7, 0, 9), (8, 7, 0, 0), (8, 7, 5, 9))], tmp_path)
    assert found == [
        ["All 1,000 rows are PyTorch’s, on every path.", ""],
        ["All 1,000 rows are PyTorch’s.", "By n0. On its other paths some are others."],
        ["PyTorch differs from yours in 7 rows of 1,000. All of yours are what “n2” gives.", "Words 2."],
        ["PyTorch differs from yours in 7 rows of 1,000. All of yours are what n3 gives (so does “n2”).", "These rows do not tell them apart."],
        ["PyTorch differs from yours in 7 rows of 1,000. No known arithmetic gives all of yours.", "The nearest is “n2”, which differs in 5 rows. What to do is told below the frame."],
    ]


def test_two_computations_side_by_side(tmp_path):
    source = 'import { stepPairs } from "./finder_words.js";\nconst answer = (pairs) => pairs.map((lists) => stepPairs(...lists.map((names) => names.map((name) => ({ name })))));'
    assert run(source, [[["r", "x", "v", "code"], ["x", "w", "code"]], [["a"], []], [["a", "b"], ["b", "a"]]], tmp_path) == [
        [[0, None], [1, 0], [2, None], [None, 1], [3, 2]],
        [[0, None]],
        [[None, 0], [0, 1], [1, None]],
    ]


@pytest.mark.parametrize("operator", known.OPERATORS)
def test_a_link_holds_the_state(operator, rng, tmp_path):
    source = """import { completed, fieldsOf, isTyped, linkOf, stateOf, textsOf, understood } from "./finder_state.js";
        const answer = ({ operator, texts, broken }) => {
            const whole = completed(operator, texts);
            const state = stateOf(linkOf(operator, { ...whole, bits: 1 }));
            const again = completed(state.operator, textsOf(state.operator, state.entries));
            return { same: JSON.stringify(fieldsOf(operator).map(({ name }) => again[name])) === JSON.stringify(fieldsOf(operator).map(({ name }) => whole[name])),
                link: linkOf(operator, whole), bits: state.entries.bits, errors: [...understood(operator, again).errors], broken: broken.map(stateOf) };
        };"""
    p = preset(operator, rng, "quint8", 0)
    texts = {name: value if isinstance(value, (bool, str)) else str(value) for name, value in p.items()}
    if operator == "avg_pool":
        texts["window"] = " ".join(["7"] * (p["kh"] * p["kw"]))
    broken = ["#how-to-read-the-answer", "", "#find=", "#find=nothing&s1=1", "#find=add&s1=%E0%A4%A&=3&z1=5"]
    found = run(source, {"operator": operator, "texts": texts | {"yours": "97"}, "broken": broken}, tmp_path)
    assert found["same"] and found["bits"] == "1" and found["errors"] == []
    assert found["link"].startswith(f"#find={operator}&") and " " not in found["link"]
    assert found["broken"] == [None, None, None, None, {"operator": "add", "entries": {"z1": "5"}}]


# ---- the traits, and the running PyTorch ----


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
        x86 = onednn if operator == "requantize_conv" and machine.vnni else "fbgemm"
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
        const answer = ([operator, rows]) => rows.map(([p, inputs]) => Object.fromEntries(arithmetics(operator, p).filter(({ kind }) => kind === "pytorch").map(({ key, of }) => [key, of(...inputs)])));"""
    asked = []
    for i in range(40):
        p = preset(operator, rng, "quint8" if operator.startswith("requantize") or i % 3 else "qint8", i % 2)
        drawn = inputs(operator, p, rng, 200)
        row = int(rng.integers(len(drawn[0])))
        given = [a[row].tolist() for a in drawn]
        if np.all(np.isfinite(np.concatenate([np.ravel(one) for one in given]))):
            asked.append((p, given))
    widget, theirs = Finder(), []
    names = run('import { OPERATORS } from "./known.js";\nconst answer = (operator) => OPERATORS[operator].inputs.map(({ name }) => name);', operator, tmp_path)
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


# ---- the page, opened from a file as a reader's own copy is: the widget's host brings it to life ----

HOST = (book.ROOT / "book" / "assets" / "widget-host.js").read_text(encoding="utf-8")
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
SIZES = [1280, 390]


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a page of a finder alone: (its width, its fragment, its traits) -> the page."""
    pages = []

    def open_(width=1280, fragment="", **traits):
        state = {
            name: value for name, value in Finder(**traits).trait_values(sync=True).items() if name in NEEDED
        }
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
    page.wait_for_function("!document.querySelector('.ql-find-verdict').hidden && document.querySelector('.ql-find-verdict').textContent")
    return page.locator(".ql-find-verdict").inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("width", SIZES)
def test_from_numbers_to_the_mistake_of_a_sum(opened, width, rng):
    page = opened(width, yours=96.0)
    assert headline(page) == "PyTorch gives 97 or 96, by its path. Yours, 96, is one of them."
    lanes = known.arithmetics("add", {"s1": 1 / 16, "z1": 75, "s2": 1 / 16, "z2": 61, "s": 1 / 8, "z": 57, "dtype": "quint8"})
    all_pairs = np.arange(256).repeat(256), np.tile(np.arange(256), 256)
    codes = np.array([lane.codes(*all_pairs) for lane in lanes])
    mistake = [lane.key for lane in lanes].index("the-inputs-zero-points-forgotten")
    theirs = np.array([lane.kind == "pytorch" for lane in lanes])
    alone = (codes == codes[mistake]).sum(0) == 1  # nobody else gives that number
    agree = (codes[theirs] == codes[0]).all(0)
    at = int(rng.choice(np.flatnonzero(alone & agree)))
    q1, q2 = (int(q[at]) for q in all_pairs)
    fill(page, scale_of_a="1/16", zero_point_of_a="75", code_of_a=str(q1), scale_of_b="1/16", zero_point_of_b="61", code_of_b=str(q2))
    fill(page, scale_of_the_result="1/8", zero_point_of_the_result="57", yours=str(codes[mistake, at]))
    said = f"PyTorch gives {codes[0, at]}. Yours, {codes[mistake, at]}, is what “the inputs’ zero points forgotten” gives."
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
    fill(page, **{"codes of the input, 0 to 255": "200 255", "weights, -128 to 127": "127,127", "zero point of the input": "3"})
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
    assert "of 100,000. All of yours are what “float64, ties away from zero” gives." in said
    words = page.locator(".ql-finder").inner_text()
    assert f"mine.{kind}: 100,000 rows, 3 columns." in words.replace("Mine", "mine")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
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
    page.wait_for_function("document.querySelector('.ql-find-verdict').textContent.startsWith('PyTorch gives 97 or 96')")
    page.get_by_label("column of yours").select_option("column 3")
    fill(page, zero_point_of_the_result="100")  # the comparison follows the parameters
    page.wait_for_function("document.querySelector('.ql-find-verdict').textContent.startsWith('PyTorch differs from yours in 2 rows of 2.')")
    fill(page, zero_point_of_the_result="1000")
    assert "must be from 0 to 255" in page.locator(".ql-finder > .ql-error").inner_text()
    assert page.locator(".ql-find-verdict").is_hidden()


PASTE = """(text) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", text);
    document.querySelector("textarea").dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
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
        while (document.querySelector(".ql-find-verdict").hidden) { await new Promise(requestAnimationFrame); frames += 1; }
        return frames;
    }""")
    assert frames > 3  # drawn while the worker computed
    assert page.locator("textarea").input_value() == ""
    least = min(
        np.count_nonzero(lane.codes(q1.astype(np.int64), q2.astype(np.int64)) != yours)
        for lane in known.arithmetics("add", p)
        if lane.kind == "pytorch"
    )
    assert headline(page) == f"PyTorch differs from yours in {least:,} rows of 1,000,000. No known arithmetic gives all of yours."
    assert "The nearest is “float64, ties away from zero”, which differs in 1 row." in page.locator(".ql-finder").inner_text()


@pytest.mark.browser
def test_a_comparison_is_cancelled_and_taken_up_again(opened, rng):
    _, q1, q2, yours = mistaken_rows(rng, 300_000)
    page = opened(many=True)
    page.evaluate(PASTE, "\n".join(f"{a} {b} {y}" for a, b, y in zip(q1.tolist(), q2.tolist(), yours.tolist(), strict=True)))
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
    assert again.evaluate("location.hash") == "" and again.get_by_label("scale of a", exact=True).input_value() == "0.05"
    other = opened(fragment="#find=requantize_linear&acc=77&yours=60&relu=true")
    assert other.get_by_label("Operator").input_value() == "requantize_linear"
    assert other.get_by_label("accumulator", exact=True).input_value() == "77" and other.get_by_label("fused ReLU").is_checked()


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
    assert "PyTorch: 97 (vector body of AVX2 and AVX512)" in finding and "Mine: 96" in finding and "They part at " in finding
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
    page.locator(".ql-find-step input").evaluate("(input) => { input.value = -1; input.dispatchEvent(new Event('input', { bubbles: true })); }")
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
    small = page.locator(".ql-finder").locator("select, textarea, input[type=text], button, summary, .ql-options label").evaluate_all(
        "(nodes) => nodes.filter((node) => node.checkVisibility() && node.getBoundingClientRect().height < 43.9).map((node) => node.outerHTML.slice(0, 80))"
    )
    assert small == []


@pytest.mark.browser
def test_a_running_pytorch_is_shown_beside(browser):
    """It is asked when the typing rests; what no lane gives is told."""
    page = browser.new_page()
    source = module(*with_imports("finder.js")).replace("export default", "globalThis.finder =")
    page.add_script_tag(content=source, type="module")
    page.wait_for_function("globalThis.finder")
    show_widget(page, Finder(yours=96.0), "finder")
    page.wait_for_function("model.get('question').operator === 'add'")
    assert page.evaluate("model.get('question').values.q2") == 101
    page.evaluate("""() => model.set("answer", { id: model.get("question").id, version: "2.14.1+cpu", says: [["tail", 96], ["vector body, AVX2", 55], ["qnnpack", null]] })""")
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
