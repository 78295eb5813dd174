"""The known arithmetics in JavaScript and in Python are one list, and give one answer (Find my wrong integer)."""

import base64

import numpy as np
import pytest

from javascript import run
from known_inputs import inputs, preset
from qlearn.runtimes import known

ROWS = 4000
ASKED = """
import { arithmetics, OPERATORS, refuses } from "./known.js";
const KINDS = { code: Int32Array, int32: Int32Array, float32: Float32Array, codes: Int32Array };
const bytes = (text) => Uint8Array.from(Buffer.from(text, "base64")).buffer;
const text = (array) => Buffer.from(array.buffer).toString("base64");
function computed({ operator, p, inputs, rows }) {
    const { inputs: asked, output } = OPERATORS[operator];
    const given = asked.map(({ kind }, i) => new KINDS[kind](bytes(inputs[i])));
    const columns = given.map((array, i) => (asked[i].kind === "codes"
        ? Array.from({ length: rows }, (_, k) => array.subarray(k * array.length / rows, (k + 1) * array.length / rows)) : array));
    return arithmetics(operator, p).map(({ name, words, kind, key, of, steps }) => {
        const found = new (output === "code" ? Float64Array : Float32Array)(rows);
        for (let i = 0; i < rows; i += 1) {
            found[i] = columns.length === 2 ? of(columns[0][i], columns[1][i]) : of(columns[0][i]);
            if (i % 97 === 0 && !Object.is(steps(...columns.map((column) => column[i])).at(-1).value, of(...columns.map((column) => column[i])))) throw new Error(name);
        }
        return { name, words, kind, key, found: text(found) };
    });
}
const answer = (questions) => questions.map(computed);
"""


def asked(operator, p, drawn):
    """A question as JSON."""
    arrays = [a.astype(np.float32 if a.dtype.kind == "f" else np.int32) for a in drawn]
    return {"operator": operator, "p": p, "inputs": [base64.b64encode(a).decode() for a in arrays], "rows": len(drawn[0])}


def questions(operator, rng):
    """Of each dtype, tie-rich parameters, parameters of any size, and those at an edge."""
    for dtype in ("quint8", "qint8"):
        for kind in (0, 0, 0, 1, 1, 2, 2, 2):
            p = preset(operator, rng, dtype, kind)
            yield operator, p, inputs(operator, p, rng, ROWS)


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
            found = np.frombuffer(base64.b64decode(other["found"]), np.float32 if operator == "dequantize" else np.float64)
            assert codes.dtype == (np.float32 if operator == "dequantize" else np.int64), one.name
            np.testing.assert_array_equal(found, codes, err_msg=f"{operator} {p}: {one.name}")
