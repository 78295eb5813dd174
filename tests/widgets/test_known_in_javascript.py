"""The known arithmetics in JavaScript and in Python are one list, and give one answer (Find my wrong integer)."""

import base64
import re

import numpy as np
import pytest

from javascript import run
from known_inputs import inputs, preset
from qlearn import recordings
from qlearn.codes.rounding import fma
from qlearn.elementwise import exponential
from qlearn.machine.releases import ZERO_POINT_FIRST, release_of
from qlearn.runtimes import known, portable
from runtimes_cases import inputs as inputs_of
from runtimes_recorded import recorded

ROWS = 4000
ASKED = """
import { arithmetics, OPERATORS, refuses } from "./known.js";
const KINDS = { code: Int32Array, int32: Int32Array, float32: Float32Array, codes: Int32Array };
const bytes = (text) => Uint8Array.from(Buffer.from(text, "base64")).buffer;
const text = (array) => Buffer.from(array.buffer).toString("base64");
function computed({ operator, p, inputs, rows }) {
    const { inputs: asked, output } = OPERATORS[operator];
    const given = asked.map(({ kind }, i) => new KINDS[kind](bytes(inputs[i])));
    const windows = (array, n) => Array.from({ length: rows }, (_, k) => array.subarray(k * n, (k + 1) * n));
    const columns = given.map((array, i) => (asked[i].kind === "codes" ? windows(array, array.length / rows) : array));
    return arithmetics(operator, p).map(({ name, words, kind, key, of, steps }) => {
        const found = new (output === "code" ? Float64Array : Float32Array)(rows);
        for (let i = 0; i < rows; i += 1) {
            const row = columns.map((column) => column[i]);
            found[i] = of(...row);
            if (i % 97 === 0 && !Object.is(steps(...row).at(-1).value, of(...row))) throw new Error(name);
        }
        return { name, words, kind, key, found: text(found) };
    });
}
const answer = (questions) => questions.map(computed);
"""


def asked(operator, p, drawn):
    """A question as JSON."""
    arrays = [a.astype(np.float32 if a.dtype.kind == "f" else np.int32) for a in drawn]
    return {
        "operator": operator,
        "p": p,
        "inputs": [base64.b64encode(a).decode() for a in arrays],
        "rows": len(drawn[0]),
    }


def questions(operator, rng):
    """Of each dtype, tie-rich parameters, parameters of any size, and those at an edge."""
    for dtype in ("quint8", "qint8"):
        for kind in (0, 0, 0, 1, 1, 2, 2, 2):
            p = preset(operator, rng, dtype, kind)
            yield operator, p, inputs(operator, p, rng, ROWS)
    if operator.startswith("requantize"):  # 49 * (1 / 98) is just below a half
        p = dict(sx=1.0, sw=1.0, bias=0.0, s=98.0, z=128, per_channel=False, relu=False)
        yield operator, p, (np.array([49, -49, 147, 48, 50, 0, 98], np.int64),)


@pytest.mark.parametrize("operator", known.OPERATORS)
def test_both_languages_have_one_list_and_give_one_answer(operator, rng, tmp_path):
    drawn = list(questions(operator, rng))
    theirs = run(ASKED, [asked(*each) for each in drawn], tmp_path)
    for (_, p, given), answers in zip(drawn, theirs, strict=True):
        ours = known.arithmetics(operator, p)
        about = [(each.name, each.words, each.kind, each.key) for each in ours]
        assert about == [tuple(each[key] for key in ("name", "words", "kind", "key")) for each in answers]
        assert len({each.key for each in ours}) == len({each.name for each in ours}) == len(ours)
        for one, other in zip(ours, answers, strict=True):
            codes = one.codes(*given)
            found = np.frombuffer(
                base64.b64decode(other["found"]), np.float32 if operator == "dequantize" else np.float64
            )
            assert codes.dtype == (np.float32 if operator == "dequantize" else np.int64), one.name
            np.testing.assert_array_equal(found, codes, err_msg=f"{operator} {p}: {one.name}")


# PyTorch's own recordings, and the two runtimes'


@pytest.mark.parametrize("release", recordings.releases("addition_table"))
def test_the_recorded_sums_are_those_of_their_lane(release, tmp_path):
    """Every pair of codes, every preset: body, tail, DEFAULT's body, qnnpack."""
    found = recordings.load("addition_table", release)
    first = ZERO_POINT_FIRST.holds(release_of(release))
    lanes = {"avx2/{}/body": "body", "avx2/{}/tail": "tail-2.13" if first else "tail",
             "default/{}/body": "default-2.13" if first else "tail", "avx2/{}/qnnpack": "qnnpack"}  # fmt: skip
    pairs = np.arange(256).repeat(256), np.tile(np.arange(256), 256)
    asked_for = []
    for one, two, out in found["avx2/presets"].tolist():
        p = {
            "s1": one[0],
            "z1": int(one[1]),
            "s2": two[0],
            "z2": int(two[1]),
            "s": out[0],
            "z": int(out[1]),
            "dtype": "quint8",
        }
        asked_for.append(("add", p, pairs))
    theirs = run(ASKED, [asked(*each) for each in asked_for], tmp_path)
    for i, ((operator, p, _), answers) in enumerate(zip(asked_for, theirs, strict=True)):
        ours = {lane.key: lane for lane in known.arithmetics(operator, p)}
        codes = {each["key"]: np.frombuffer(base64.b64decode(each["found"]), np.float64) for each in answers}
        for where, key in lanes.items():
            right = found[where.format(i)].ravel()
            np.testing.assert_array_equal(codes[key], right, err_msg=f"{p} {key}")
            np.testing.assert_array_equal(ours[key].codes(*pairs), right, err_msg=f"{p} {key}")


NAMES = {
    "onnxruntime": ("ONNX Runtime",),
    "litert reference": ("LiteRT, reference", "LiteRT"),
    "litert optimized": ("LiteRT, optimized", "LiteRT, reference and optimized", "LiteRT"),
    "litert xnnpack": ("LiteRT, XNNPACK", "LiteRT, reference and XNNPACK", "LiteRT"),
}


def test_the_runtimes_recorded_numbers_are_those_of_their_lane(tmp_path):
    """But for what depends on the place in a tensor: LiteRT's optimized kernels in whole blocks of 16."""
    drawn, right = [], []
    for case, answer in recorded():
        if case.operator == "global_avg_pool" or (
            "relu" in case.p and case.p["relu"] and case.runtime == "onnxruntime"
        ):
            continue
        p = dict(case.p)
        if case.operator == "sigmoid" and "so" not in p:
            p |= {"so": 2.0**-8, "zo": 0 if p["dtype"] == "quint8" else -128}
        drawn.append((case.operator, p, inputs_of(case)))
        right.append((case, answer))
    theirs = run(ASKED, [asked(*each) for each in drawn], tmp_path)
    compared = 0
    for (case, answer), (operator, p, _), lanes in zip(right, drawn, theirs, strict=True):
        known_as = [
            lane for lane in lanes if lane["kind"] == "runtime" and lane["name"].startswith(NAMES[case.runtime])
        ]
        wide = answer.astype(np.float32 if operator == "dequantize" else np.int64)
        if case.runtime != "onnxruntime" and operator != "dequantize" and p.get("dtype", "quint8") == "quint8":
            wide = wide + 128
        whole = len(wide) - len(wide) % 16
        codes = [
            np.frombuffer(base64.b64decode(lane["found"]), np.float32 if operator == "dequantize" else np.float64)
            for lane in known_as
        ]
        assert any(np.array_equal(each[:whole], wide[:whole]) for each in codes), (
            case,
            [lane["name"] for lane in known_as],
        )
        compared += whole
    assert compared > 160_000


# Parameters, exponentials, parting


SOME_OF_THEM_WRONG = {
    "scale": [0, -1, 1e39, 1e-45, 0.25, 2**21, 2.0**-70, 2.0**61, 1e30],
    "zero": [256, -129, 1.5, 255, -128, 0],
    "real": [1e39, 1e30, -7],
    "flag": [1, True],
    "count": [0, 65, 1.5, 64],
    "dtype": ["qint32", "quint8"],
}
REFUSED = """
import { refuses } from "./known.js";
const answer = (asked) => asked.map(({ operator, p }) => refuses(operator, p));
"""


def test_both_languages_refuse_the_same_in_the_same_words(rng, tmp_path):
    questions = []
    for operator, kinds in known.OPERATORS.items():
        for _ in range(60):
            p = preset(operator, rng, str(rng.choice(["quint8", "qint8"])), int(rng.integers(2)))
            name = str(rng.choice(list(kinds)))
            values = SOME_OF_THEM_WRONG[kinds[name]]
            questions.append((operator, p | {name: values[rng.integers(len(values))]}))
    theirs = run(REFUSED, [{"operator": operator, "p": p} for operator, p in questions], tmp_path)
    refused = 0
    for (operator, p), said in zip(questions, theirs, strict=True):
        ours = known.refuses(operator, p)
        assert (ours is None) == (said is None), (operator, p, ours, said)
        if ours is not None:
            refused += 1
            plain = re.sub("^([a-z0-9_]+), the [^,]+,", r"\1", said)  # the page says what the parameter is
            assert plain.rpartition(", got")[0] == ours.rpartition(", got")[0]
    assert 200 < refused < len(questions) - 200


EXPONENTIALS = """
import { glibcExp, glibcExpm1, glibcTanh, sleefExp, sleefExpm1, sleefTanh } from "./known_exponential.js";
import { portableExp, portableExpm1, portableTanh } from "./known_exponential.js";
const bytes = (text) => Uint8Array.from(Buffer.from(text, "base64")).buffer;
const text = (array) => Buffer.from(array.buffer).toString("base64");
function answer([singles, doubles]) {
    const x = new Float32Array(bytes(singles));
    const functions = [sleefExp, sleefExpm1, sleefTanh, glibcExp, glibcExpm1, glibcTanh];
    const wide = new Float64Array(bytes(doubles));
    const portable = [portableExp, portableExpm1, portableTanh].map((f) => text(Float64Array.from(wide, f)));
    return [functions.map((f) => text(Float32Array.from(x, f))), portable];
}
"""


def test_the_exponentials_have_the_same_bits(rng, tmp_path):
    """Of any float32, most of them where the functions move."""
    functions = (exponential.sleef_expf, exponential.sleef_expm1f, exponential.sleef_tanhf,
                 exponential.glibc_expf, exponential.glibc_expm1f, exponential.glibc_tanhf)  # fmt: skip
    any_bits = rng.integers(0, 2**32, 40_000, dtype=np.uint32).view(np.float32)
    special = [0.0, -0.0, np.inf, -np.inf, 1e-45, 88.72284, -103.97, 22.0, 1.0, -1.0, 2.0**-25, 0.34657359]
    x = np.concatenate(
        [any_bits[~np.isnan(any_bits)], rng.normal(0, 8, 80_000), rng.uniform(-110, 110, 40_000), special]
    ).astype(np.float32)
    wide = np.concatenate([rng.normal(0, scale, 20_000) for scale in (20, 1, 1e-9, 1e-30, 300)])
    theirs, portables = run(EXPONENTIALS, [base64.b64encode(a).decode() for a in (x, wide)], tmp_path)
    for function, text in zip(functions, theirs, strict=True):
        bits = np.frombuffer(base64.b64decode(text), np.uint32)
        np.testing.assert_array_equal(bits, np.asarray(function(x)).view(np.uint32), err_msg=function.__name__)
    for function, text in zip((portable.exp, portable.expm1, portable.tanh), portables, strict=True):
        bits = np.frombuffer(base64.b64decode(text), np.uint64)
        np.testing.assert_array_equal(bits, function(wide).view(np.uint64), err_msg=function.__name__)


FUSED = """
import { fma32 } from "./arithmetic.js";
const bytes = (text) => new Float32Array(Uint8Array.from(Buffer.from(text, "base64")).buffer);
function answer(texts) {
    const [a, b, c] = texts.map(bytes);
    return Buffer.from(Float32Array.from(a, (x, i) => fma32(x, b[i], c[i])).buffer).toString("base64");
}
"""


def test_the_fused_multiply_add_is_rounded_once(rng, tmp_path):
    """Of any float32, and of sums that lie halfway between two of them but for their last bits."""
    n = 60_000
    a, b, c = rng.integers(0, 2**32, (3, n), dtype=np.uint32).view(np.float32)
    near = rng.integers(1, 2**24, (2, n)).astype(np.float32)
    halfway = (near[0].astype(np.float64) * near[1]).astype(np.float32) * np.float32(2.0**-24)
    a, b, c = (np.concatenate(each) for each in ((a, near[0]), (b, near[1] * np.float32(2.0**-49)), (c, halfway)))
    kept = ~(np.isnan(a) | np.isnan(b) | np.isnan(c))
    a, b, c = a[kept], b[kept], c[kept]
    with np.errstate(all="ignore"):
        right = fma(a, b, c)
    text = run(FUSED, [base64.b64encode(each).decode() for each in (a, b, c)], tmp_path)
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(text), np.float32), right)


PARTED = """
import { arithmetics, parts } from "./known.js";
const answer = ({ p, q, pairs }) => pairs.map(([one, other]) => {
    const lanes = arithmetics("add", p);
    const [a, b] = [one, other].map((key) => lanes.find((lane) => lane.key === key).steps(...q));
    const apart = parts(a, b);
    return apart && [a[apart[0]].name, b[apart[1]].name];
});
"""


def test_two_computations_part_where_they_never_meet_again(tmp_path):
    p = {"s1": 1, "z1": 0, "s2": 1, "z2": 0, "s": 2, "z": 1, "dtype": "quint8"}  # 2.5 steps, odd zero point
    pairs = [["body", "tail"], ["tail", "tail-2.13"], ["tail", "half-up-tail"], ["tail", "q1-plus-q2-clamped"],
             ["tail", "the-inputs-zero-points-forgotten"], ["tail", "default-2.13"], ["qnnpack", "tail"]]  # fmt: skip
    found = run(PARTED, {"p": p, "q": [5, 0], "pairs": pairs}, tmp_path)
    assert found == [
        None,
        ["integer", "with z"],
        ["integer", "integer"],
        ["x₁", "q₁"],
        None,
        ["v", "with z"],
        ["m₁(q₁ − z₁)", "x₁"],
    ]
    p |= {"z1": 3, "z2": 2}
    assert run(PARTED, {"p": p, "q": [5, 9], "pairs": pairs[4:5]}, tmp_path) == [["x₁", "x₁"]]
    p |= {"z1": 0}
    assert run(PARTED, {"p": p, "q": [5, 9], "pairs": pairs[4:5]}, tmp_path) == [["x₂", "x₂"]]


SUMMED = """
import { accumulator } from "./known_layers.js";
const ways = ["", "fbgemm", "onednn"];
const sums = ({ x, w, zx, zw }) => ways.map((pairs) => accumulator(x, w, { zx, zw, pairs }));
const answer = (asked) => asked.map(sums);
"""


def test_accumulators_are_the_same_with_and_without_saturation(rng, tmp_path):
    """Of even and odd lengths, and of those that oneDNN's linear layer for AVX2 cuts in halves, even and odd ones."""
    rows = []
    for features in (1, 2, 3, 9, 64, 255, 256, 257, 258, 259, 260, 513, 514, 765, 766, 767, 768, 1001):
        x, w = rng.integers(0, 256, features), rng.integers(-128, 128, features)
        rows.append({"x": x.tolist(), "w": w.tolist(), "zx": int(rng.integers(256)), "zw": int(rng.integers(-5, 6))})
    saturated = 0
    for row, theirs in zip(rows, run(SUMMED, rows, tmp_path), strict=True):
        x, w = np.array([row["x"]], np.uint8), np.array([row["w"]], np.int8)
        ours = [int(known.accumulators(x, w, row["zx"], row["zw"], pairs=p)[0, 0]) for p in ("", "fbgemm", "onednn")]
        assert theirs == ours, len(row["x"])
        saturated += len(set(ours)) == 3
    assert saturated > 3
