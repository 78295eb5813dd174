"""Each recipe, in NumPy and in C99, gives the integers of its arithmetic (Find my wrong integer)."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from javascript import run
from known_inputs import inputs, preset
from qlearn.runtimes import known

ASKED = """
import { arithmetics, recipe } from "./known.js";
const ours = (operator, p) => arithmetics(operator, p).filter(({ kind }) => kind === "pytorch");
const recipes = ({ operator, p }) => ours(operator, p).map(({ key }) => ({ key, ...recipe(operator, key, p) }));
const answer = (asked) => asked.map(recipes);
"""
ROWS = 2000


@pytest.mark.parametrize("operator", known.OPERATORS)
def test_recipes_give_the_integers_of_their_arithmetic(operator, rng, tmp_path):
    drawn = []
    for dtype in ("quint8", "qint8"):
        for kind in (0, 0, 1, 1, 2, 2):
            p = preset(operator, rng, dtype, kind)
            drawn.append((p, inputs(operator, p, rng, ROWS)))
    written = run(ASKED, [{"operator": operator, "p": p} for p, _ in drawn], tmp_path)
    functions = compiled(written, operator, tmp_path)
    for i, ((p, given), recipes) in enumerate(zip(drawn, written, strict=True)):
        lanes = {lane.key: lane for lane in known.arithmetics(operator, p) if lane.kind == "pytorch"}
        assert list(lanes) == [recipe["key"] for recipe in recipes]
        for recipe in recipes:
            right = lanes[recipe["key"]].codes(*given)
            about = f"{operator} {p} {recipe['key']}\n"
            np.testing.assert_array_equal(in_numpy(recipe["numpy"], given), right, err_msg=about + recipe["numpy"])
            ours = functions(i, recipe["key"], given)
            np.testing.assert_array_equal(ours, right, err_msg=about + recipe["c"])
            lines = [line for line in recipe["numpy"].splitlines() if line and "    " in line]
            assert len(lines) <= 15, about + recipe["numpy"]


def in_numpy(text, given):
    names = {}
    exec(text, names)
    with np.errstate(all="ignore"):
        return (names.get("codes") or names["reals"])(*given)


def compiled(written, operator, folder):
    """Every C recipe in one library, each under a name of its own, in a loop over rows."""
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    kind = {"quantize": "float", "avg_pool": "const int *"}.get(operator, "int")
    out = "float" if operator == "dequantize" else "int"
    texts = ["#include <math.h>", "#include <stdint.h>"]
    for i, recipes in enumerate(written):
        for k, recipe in enumerate(recipes):
            own = f"recipe_{i}_{k}"
            names = "real" if out == "float" else "code"
            body = (
                recipe["c"]
                .replace(f"{out} {names}(", f"static {out} {own}(")
                .replace("short table[", f"short table_{own}[")
                .replace("return table[", f"return table_{own}[")
            )
            pair = operator in ("add", "add_relu", "mul", "mul_relu")
            given = "a + i * width" if operator == "avg_pool" else "a[i], b[i]" if pair else "a[i]"
            element = "const int *" if operator == "avg_pool" else f"const {kind} *"
            texts.append(
                f"{body}\nvoid all_{i}_{k}({element}a, const int *b, {out} *out, int n, int width) {{\n"
                f"    for (int i = 0; i < n; i++) out[i] = {own}({given});\n}}"
            )
    source, library = folder / "recipes.c", folder / "recipes.so"
    source.write_text("\n".join(texts))
    command = [
        compiler,
        "-std=c99",
        "-O2",
        "-Wall",
        "-Werror",
        "-Wno-unused-parameter",
        "-fPIC",
        "-shared",
        str(source),
        "-o",
        str(library),
        "-lm",
    ]
    subprocess.run(command, check=True)
    functions = ctypes.CDLL(str(library))
    places = [{recipe["key"]: k for k, recipe in enumerate(recipes)} for recipes in written]

    def call(i, key, given):
        arrays = [np.ascontiguousarray(a, np.float32 if kind == "float" else np.int32) for a in given]
        result = np.empty(len(given[0]), np.float32 if out == "float" else np.int32)
        width = given[0].shape[1] if given[0].ndim == 2 else 1
        pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (arrays[0], arrays[-1], result)]
        getattr(functions, f"all_{i}_{places[i][key]}")(*pointers, len(result), width)
        return result

    return call
