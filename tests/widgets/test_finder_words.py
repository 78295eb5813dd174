"""What stands in the finder's fields, and what it says: numbers, verdicts, links."""

import numpy as np
import pytest

from javascript import run
from known_inputs import preset
from qlearn.runtimes import known

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
    source = (
        'import { parse } from "./finder_numbers.js";\nconst answer = ([field, text]) => parse(field, text, "quint8");'
    )
    said = run(source, [field, text], tmp_path)
    assert said == ({"error": expected} if isinstance(expected, str) else {"value": expected})


def test_a_number_is_written_and_stepped(tmp_path):
    source = """import { bitsOf, shortest, stepped } from "./finder_numbers.js";
        const f = Math.fround;
        const [scale, code, real] = ["scale", "code", "float32"].map((kind) => ({ kind }));
        const yours = { kind: "code", free: true };
        const answer = ({ floats, whole }) => ({
            shortest: floats.map((x) => shortest(f(x))),
            twice: floats.map((x) => f(Number(shortest(f(x)))) === f(x)),
            bits: floats.map((x) => [bitsOf(f(x), "float32"), bitsOf(x, "float64")]),
            ints: whole.map((x) => [bitsOf(x, "int32"), bitsOf(x, "int64")]),
            up: [
                stepped(scale, 0.05, 1), stepped(scale, 0.05, 1, true), stepped(code, 254, 1, true, "quint8"),
                stepped(code, -128, -1, false, "qint8"), stepped(yours, 255, 1), stepped(real, 0, -1),
                stepped(scale, 2 ** -149, -1),
            ],
        });"""
    floats = [0.05, 1 / 3, -1.5, 1e-45, 3.4e38, 16777216.0, 1e10, 0.0]
    found = run(source, {"floats": floats, "whole": [-1, 97, -(2**31)]}, tmp_path)
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


WORDS = """import { nearTie, verdict, verdictOfMany, wordsOf } from "./finder_words.js";
import { completed, understood } from "./finder_state.js";
import { onPaper } from "./finder_answers.js";
import { arithmetics } from "./known.js";
const answer = ([operator, texts]) => {
    const { p, inputs, yours, errors } = understood(operator, completed(operator, texts));
    if (errors.size > 0) return [...errors];
    const lanes = arithmetics(operator, p).map((lane) => ({ ...lane, code: lane.of(...inputs) }));
    const [headline, note] = verdict(lanes, yours);
    const codes = Object.fromEntries(lanes.map(({ key, code }) => [key, code]));
    return { said: wordsOf(headline), note, tie: nearTie(onPaper(lanes, inputs)), codes };
};"""
ISSUE = {"s1": "0.040562573820352554", "z1": "112", "q1": "158", "s2": "0.08881603181362152", "z2": "126", "q2": "136"}
ISSUE |= {"s": "0.09029635787010193", "z": "124"}


def test_whose_number_it_is(tmp_path):
    def said(yours, **more):
        return run(WORDS, ["add", {**ISSUE, "yours": yours, **more}], tmp_path)

    found = said("155")
    assert [found["codes"][key] for key in ("body", "tail", "tail-2.13", "default-2.13", "qnnpack")] == [
        154,
        154,
        154,
        154,
        155,
    ]
    assert found["said"] == "PyTorch gives 154 or 155, by its path. Yours, 155, is one of them."
    assert found["note"].startswith("It is that of qnnpack. Engine, CPU, release")
    assert "below a tie" in found["tie"]
    assert said("")["said"] == "PyTorch gives 154 or 155, by its path."
    assert said("100")["said"].endswith("Yours, 100, is what none of the known arithmetics gives.")
    odd = {
        "s1": "1",
        "z1": "0",
        "q1": "5",
        "s2": "1",
        "z2": "0",
        "q2": "0",
        "s": "2",
        "z": "1",
    }  # 2.5 steps, odd zero point
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
    source = """import { verdictOfMany, wordsOf } from "./finder_words.js";
        const said = ([headline, note]) => [wordsOf(headline), note];
        const answer = (cases) => cases.map((each) => said(verdictOfMany(...each)));"""

    def lanes(*differ):
        kinds = ("pytorch", "pytorch", "mistake", "runtime")
        return [
            {"kind": kind, "name": f"n{i}", "words": f"words {i}", "key": str(i), "differ": n, "first": 41}
            for i, (kind, n) in enumerate(zip(kinds, differ, strict=True))
        ]

    cases = [
        (0, 0, 0, 9),
        (0, 7, 0, 9),
        (800, 7, 0, 9),
        (7, 7, 0, 0),
        (70, 70, 10, 90),
        (70, 90, 1, 90),
        (1, 90, 11, 90),
    ]
    found = run(source, [[lanes(*each), 1000] for each in [*cases, (70, 70, 11, 90)]], tmp_path)
    assert found == [
        ["All 1,000 rows are PyTorch’s, on every path.", ""],
        ["All 1,000 rows are PyTorch’s.", "By n0. On its other paths some are others."],
        [
            "PyTorch differs from yours in 7 to 800 rows of 1,000, by its path. All of yours are what “n2” gives.",
            "Words 2.",
        ],
        [
            "PyTorch differs from yours in 7 rows of 1,000. All of yours are what n3 gives (so does “n2”).",
            "These rows do not tell them apart.",
        ],
        [
            "PyTorch differs from yours in 70 rows of 1,000. "
            "All of yours are what “n2” gives but 10 rows, the first of them row 42.",
            "Words 2.",
        ],
        [
            "PyTorch differs from yours in 70 to 90 rows of 1,000, by its path. "
            "All of yours are what “n2” gives but row 42.",
            "Words 2.",
        ],
        ["All of yours are PyTorch’s (n0) but row 42.", ""],
        [
            "PyTorch differs from yours in 70 rows of 1,000. No known arithmetic gives yours, nor comes near.",
            "Is each column what it is taken for, and each scale and zero point right? "
            "What else to do is told below the frame.",
        ],
    ]


def test_two_computations_side_by_side(tmp_path):
    source = """import { stepPairs } from "./finder_words.js";
        const named = (names) => names.map((name) => ({ name }));
        const answer = (pairs) => pairs.map((lists) => stepPairs(...lists.map(named)));"""
    assert run(
        source, [[["r", "x", "v", "code"], ["x", "w", "code"]], [["a"], []], [["a", "b"], ["b", "a"]]], tmp_path
    ) == [
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
            const seen = (each) => JSON.stringify(fieldsOf(operator).map(({ name }) => each[name]));
            return {
                same: seen(whole) === seen(again), link: linkOf(operator, whole), bits: state.entries.bits,
                errors: [...understood(operator, again).errors], broken: broken.map(stateOf),
            };
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
