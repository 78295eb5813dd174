"""Columns of numbers in the finder: read out of texts and NumPy's files, placed, and compared row by row."""

import base64
import io
import zipfile

import numpy as np
import pytest

from javascript import run
from known_inputs import inputs, preset
from qlearn.runtimes import known

COLUMNS = """import { columnsOfFile, Malformed, sideBySide } from "./finder_files.js";
const read = async (files) => {
    try {
        const tables = [];
        for (const [name, text] of files) {
            tables.push(await columnsOfFile(name, Uint8Array.from(Buffer.from(text, "base64"))));
        }
        const { names, columns } = sideBySide(tables);
        return { names, columns: columns.map((column) => Array.from(column)) };
    } catch (error) {
        if (!(error instanceof Malformed)) throw error;
        return { why: error.message };
    }
};
const answer = (cases) => Promise.all(cases.map(read));"""


def columns(tmp_path, *cases):
    """What each case, a list of (name, bytes), is read as."""
    asked = [[(name, base64.b64encode(data).decode()) for name, data in case] for case in cases]
    return run(COLUMNS, asked, tmp_path)


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
        ("1;2\n0,5;2\n", "Line 2, column 1 is “0,5”: write a decimal comma as a point."),
        ("12abc 3\n4 5\n", "Line 1, column 1 is not a number: “12abc”."),
        ("a,b\n", "There is no line of numbers."),
        ("\n\n", "There is no line of numbers."),
    ],
)
def test_columns_of_a_text(text, expected, tmp_path):
    (found,) = columns(tmp_path, [("data.csv", text.encode())])
    assert found == ({"why": expected} if isinstance(expected, str) else expected)


def test_other_encodings_and_empty_files_are_told(tmp_path):
    found = columns(
        tmp_path, [("data.csv", "1,2".encode("utf-16"))], [("data.csv", b"")], [("data.npy", b"1,2\n3,4\n")]
    )
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
    three = npy(np.arange(3))

    def packed(name="q1.npy", data=three, method=zipfile.ZIP_DEFLATED):
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
        packed(data=three[:-1]): "a.npz, q1: a shape of (3,) and <i8 are 24 bytes, the file has 23.",
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
        const answer = ([operator, names, count]) => {
            const places = placed(operator, names, count);
            return [places, misplaced(operator, places)];
        };"""
    places, wrong = run(source, [operator, names, count], tmp_path)
    assert (places["inputs"], places["yours"]) == expected
    assert wrong == ("No column is the code of b." if None in expected[0] else None)


QUESTION = """import { question } from "./finder_rows.js";
const answer = ({ operator, p, columns, places }) => {
    const table = { columns: columns.map((column) => Float64Array.from(column)) };
    try {
        const asked = question({ operator, p, dtype: p.dtype ?? "quint8", table, places });
        const last = (k) => asked.next(k, asked.rows, -1);
        return asked.known.map(({ key }, k) => ({ key, ...asked.count(k, 0, asked.rows), last: last(k) }));
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
        (
            "add",
            p | {"dtype": "qint8", "z1": 0, "z2": 0, "z": 0},
            [[1, 200], [1, 2], [3, 4]],
            "Row 2: the code of a is 200; it must be a whole number from -128 to 127.",
        ),
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
