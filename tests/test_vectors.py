"""The test vectors: PyTorch's recorded integers in each file, read by the very readers that the page shows."""

import hashlib
import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qlearn
import read_vectors
import sheet
import vectors
from book import HTML, ROOT
from executed import COMPILER, STRICT, Case, Steps, differing, runner
from qlearn import Machine, QTensor, recordings
from qlearn.layers import requantize

READERS = ROOT / "book" / "lookup" / "readers"
NAMES = [v.name for v in vectors.sets()]
SETS = {v.name: v for v in vectors.sets()}
FILES = sorted({name.rpartition(".")[0] for name in vectors.files() if name.endswith(".csv")})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files, written."""
    made = tmp_path_factory.mktemp("vectors")
    for name, data in vectors.files().items():
        (made / name).write_bytes(data)
    return made


def test_they_are_small_and_the_same_each_time() -> None:
    again = vectors.files.__wrapped__()
    assert again == vectors.files()
    assert sum(map(len, again.values())) < 3_000_000
    assert len(set(NAMES)) == len(NAMES) >= 45


def test_checksums(folder: Path) -> None:
    sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    files = {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    assert sums.keys() == files
    assert all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())
    for entry in json.loads((folder / "index.json").read_text()):
        assert entry["sha256"].items() <= sums.items() and "PyTorch 2.1" in entry["about"]


# Their integers


def line_of(name: str) -> Steps:
    """The cheat sheet's lines that compute a set."""
    plain = name.removesuffix("_2_13")
    known: dict[str, Steps] = {
        "quantize_per_tensor": (("quantize", "q"),),
        "quantize_per_channel": (("quantize_channel", "q"),),
        "dequantize": (("dequantize", "q"),),
        "add_relu_body": (("add_body", "q"), ("relu", "q")),
        "add_relu_tail": (("add_tail", "q"), ("relu", "q")),
        "requantize_fbgemm_tensor": (("fbgemm", "q"),),
        "requantize_fbgemm_channel": (("fbgemm_channel", "q"),),
        **{f"requantize_qnnpack_{of}": (("qnnpack", "q"),) for of in ("tensor", "channel")},
        "avg_pool2d_channels_last": (("avg_vector", "q"),),
        "avg_pool2d_contiguous": (("avg_contiguous", "q"),),
        "avg_pool2d_qnnpack": (("avg_qnnpack", "q"),),
        "adaptive_avg_pool2d_channels_last": (("adaptive_vector", "q"),),
        "adaptive_avg_pool2d_contiguous": (("adaptive_contiguous", "q"),),
        "adaptive_avg_pool2d_qnnpack": (("avg_qnnpack", "q"),),
        "hardsigmoid_qnnpack": (("hardsigmoid_tail", "q"),),
        **{f"clamp_{path}": (("clamp", "q"),) for path in ("body", "tail")},
    }
    for lane, y in (("onednn", "onednn_avx512"), ("onednn_avx2", "onednn_avx2")):
        for of, w in (("tensor", "onednn_w"), ("channel", "onednn_w_channel")):
            known[f"requantize_{lane}_{of}"] = (w, "w"), (y, "y"), ("onednn_code", "q")
    if plain in known:
        return known[plain]
    return ((plain, "q"),) if plain in sheet.lines() else ()


def test_most_sets_are_on_the_cheat_sheet() -> None:
    exponentials, others = ("sigmoid", "tanh", "elu"), ("linear",)
    without = {name for name in NAMES if not line_of(name)}
    assert without == {name for name in NAMES if name.startswith((*exponentials, *others))}


@pytest.mark.parametrize("name", [name for name in NAMES if line_of(name)])
def test_the_cheat_sheet_gives_every_row(name: str) -> None:
    """All rows of the recording, row by row: scales as columns."""
    v = SETS[name]
    values = dict(v.columns)
    expected = values.pop("real" if name == "dequantize" else "q")
    if "qx" in values:
        values["q"] = values["qx"]
    if name.startswith("clamp"):
        values |= {"s": values["sx"], "z": values["zx"]}
    if "slope" in values:
        values["a"] = values["slope"]
    run = runner(0, v.source[2], "quint8")
    for case in by_parameters(values, expected, line_of(name), Machine("fbgemm", "AVX2", 1, release=v.source[2])):
        differ, words = differing(case, run)
        assert not differ, (name, words)


def by_parameters(values: Any, expected: Any, steps: Steps, machine: Machine) -> list[Case]:
    """Cases of equal scales and zero points: some lines take one of each."""
    alone = [key for key in values if key[0] in "sc" or key in ("z", "za", "zb", "zx", "low", "high", "a")]
    keys = np.stack([np.asarray(values[key], np.float64) for key in alone]) if alone else np.zeros((1, expected.size))
    found = []
    for parameters in np.unique(keys, axis=1).T if alone else [np.zeros(1)]:
        rows = (keys == parameters[:, None]).all(0)
        some = {key: column[rows] for key, column in values.items() if key not in alone}
        some |= {key: values[key][rows][0].item() for key in alone}
        found.append(Case(steps, some, expected[rows], machine))
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("sigmoid", "tanh", "elu", "hardsig"))])
def test_qlearn_gives_every_row(name: str) -> None:
    """The activations that the cheat sheet has not."""
    v = SETS[name]
    operator = getattr(qlearn, v.operator)
    machine = Machine(v.engine, "AVX2", 1)
    c = v.columns
    arguments = [key for key in c if key not in ("qx", "sx", "zx", "q")]
    for i in range(0, c["q"].size, 256):
        rows = slice(i, i + 256)
        given = [c[key][i].item() for key in arguments]
        tensor = QTensor(c["qx"][rows], c["sx"][i], int(c["zx"][i]), "quint8")
        step = 63 if name.endswith("tail") else 256
        parts = [tensor.int_repr()[k : k + step] for k in range(0, 256, step)]
        codes = [operator(QTensor(p, c["sx"][i], int(c["zx"][i]), "quint8"), *given, machine=machine) for p in parts]
        assert np.array_equal(np.concatenate([t.int_repr() for t in codes]), c["q"][rows]), (name, i)


@pytest.mark.parametrize("name", ["linear_exact", "linear_saturating"])
def test_linear_rows(name: str) -> None:
    """From nine products: all of them, or pairs clamped to 16 bits."""
    c = SETS[name].columns
    x, w = (np.stack([c[f"{letter}{k}"].astype(int) for k in range(9)] + [0 * c["zx"].astype(int)]) for letter in "xw")
    products = x * w
    pairs = products[::2] + products[1::2]
    total = (np.clip(pairs, -(2**15), 2**15 - 1) if name.endswith("saturating") else pairs).sum(0)
    acc = total - c["zx"].astype(int) * w.sum(0)
    wrong = 0
    for case in by_parameters(
        {"acc": acc} | {k: c[k] for k in ("b", "sx", "sw", "s", "z")}, c["q"], (("fbgemm", "q"),), Machine.default()
    ):
        wrong += differing(case, runner(0, "2.14", "quint8"))[0]
    assert wrong == 0
    assert (np.abs(pairs) > 2**15).any()  # the other kind of sums would be another


def test_scalars_give_scale_and_zero_point() -> None:
    for name in ("add_scalar", "mul_scalar"):
        c = SETS[name].columns
        for i in range(0, c["q"].size, 256):
            x = QTensor(c["qx"][i : i + 256], c["sx"][i], int(c["zx"][i]), "quint8")
            y = getattr(qlearn, name)(x, c["c"][i])
            assert (y.q_scale(), y.q_zero_point()) == (c["s"][i], c["z"][i])
            assert np.array_equal(y.int_repr(), c["q"][i : i + 256])


def test_thresholds_are_qlearns() -> None:
    """The accumulators of requantize, on both sides of each step."""
    steps = {"fbgemm": requantize.fbgemm, "qnnpack": requantize.qnnpack}
    for lane, step in steps.items():
        c = SETS[f"requantize_{lane}_tensor"].columns
        for case in by_parameters({k: c[k] for k in ("acc", "b", "sx", "sw", "s", "z")}, c["q"], (), Machine.default()):
            v = case.values
            ours = step(v["acc"], v["b"], v["sx"], np.array(v["sw"]), v["s"], v["z"], relu=False)
            assert np.array_equal(ours, case.expected)
            break


def test_recorded_integers_are_in_the_files() -> None:
    """A table of PyTorch's, found again in the file of add."""
    recorded = recordings.load("elementwise")
    with np.load(io.BytesIO(vectors.files()["add_body.npz"])) as file:
        for i, preset in enumerate(recorded["avx2/presets"]):
            rows = np.flatnonzero((file["s"] == preset[2, 0]) & (file["sa"] == preset[0, 0]))
            table = recorded[f"avx2/add/{i}/body"]
            assert len(rows) and np.array_equal(table[file["qa"][rows], file["qb"][rows]], file["q"][rows])


def test_ties_are_ties() -> None:
    """By exact fractions, of add and of the accumulators; and a rounded formula on paper fails on them."""
    from fractions import Fraction

    for name in ("add_body", "requantize_fbgemm_tensor"):
        c = SETS[name].ties()
        for i in range(len(c["q"])):
            at = {key: Fraction(column[i].item()) for key, column in c.items()}
            if name == "add_body":
                real = (at["qa"] - at["za"]) * at["sa"] + (at["qb"] - at["zb"]) * at["sb"]
            else:
                real = at["acc"] * at["sx"] * at["sw"] + at["b"]
            exact = real / at["s"] + at["z"]
            assert abs(exact % 1 - Fraction(1, 2)) <= Fraction(1.01 * vectors.NEAR) * max(1, abs(exact))
        paper = np.rint((c["qa"] - c["za"].astype(float)) * c["sa"] / c["s"]) if "qa" in c else 0
        assert (paper != c["q"]).any()
    with_ties = {name for name in FILES if name.endswith("_ties")}
    assert {"add_body_ties", "mul_ties", "quantize_per_tensor_ties", "requantize_qnnpack_tensor_ties"} <= with_ties


# The readers


@pytest.mark.parametrize("name", FILES)
def test_the_three_kinds_hold_the_same(name: str, folder: Path) -> None:
    typed = read_vectors.from_npz(folder / f"{name}.npz")
    assert "PyTorch" in str(typed.pop("about"))
    plain = read_vectors.from_csv(folder / f"{name}.csv")
    bits = read_vectors.from_hex(folder / f"{name}.hex")
    assert list(plain) == list(typed) == list(bits)
    v = SETS[name.removesuffix("_ties")]
    for key, column in typed.items():
        assert column.dtype == v.columns[key].dtype
        assert np.array_equal(plain[key].astype(column.dtype), column) and np.array_equal(plain[key], column)
        assert np.array_equal(bits[key], np.ascontiguousarray(column).view(f"u{column.dtype.itemsize}"))
    assert len(typed[key]) <= (vectors.TIES if name.endswith("_ties") else vectors.ROWS)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Compiles C against the page's header."""
    if COMPILER is None:
        pytest.skip("there is no C compiler here")
    made = tmp_path_factory.mktemp("c")
    shutil.copy(READERS / "read_vectors.h", made)

    def build(name: str, text: str) -> Path:
        (made / f"{name}.c").write_text(text)
        command = [COMPILER, *STRICT, "-o", made / name, made / f"{name}.c", "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return made / name

    return build


DUMP = """#include "read_vectors.h"
int main(int count, char **names)
{
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(names[i], "r");
        double row[COLUMNS];
        int columns = read_row(file, row);
        printf("%d\\n", columns);
        while ((columns = read_row(file, row)) > 0)
            for (int k = 0; k < columns; k++) printf(k + 1 < columns ? "%.17g," : "%.17g\\n", row[k]);
        fclose(file);
    }
    return 0;
}
"""


def test_the_reader_in_c_reads_every_file(compiled: Callable[[str, str], Path], folder: Path) -> None:
    program = compiled("dump", DUMP)
    for name in FILES:
        done = subprocess.run([program, folder / f"{name}.csv"], capture_output=True, text=True, check=True)
        first, *rows = done.stdout.splitlines()
        assert first == "0"
        read = np.array([[float(cell) for cell in row.split(",")] for row in rows])
        assert np.array_equal(read, np.stack(list(read_vectors.from_csv(folder / f"{name}.csv").values()), axis=1))


def test_the_check_in_c(compiled: Callable[[str, str], Path], folder: Path) -> None:
    """No row of the body differs; some of the tail do, and of a function that adds the zero point first."""
    text = (READERS / "check_add.c").read_text()
    right = compiled("check_add", text)
    for name, rows in (("add_body", vectors.ROWS), ("add_body_ties", vectors.TIES)):
        done = subprocess.run([right, folder / f"{name}.csv"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, f"{rows} rows, 0 differ\n")
    assert "rintf((a + b) * (1.0f / (float)s)) + (float)z" in text
    other = text.replace("* (1.0f / (float)s)) + (float)z", "* (1.0f / (float)s) + (float)z)")
    wrong = compiled("wrong", other)
    for program, name in ((right, "add_tail_ties"), (wrong, "add_body_ties")):
        done = subprocess.run([program, folder / f"{name}.csv"], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and not done.stdout.endswith(" 0 differ\n"), name


def test_the_test_bench_takes_rows_apart() -> None:
    """The bits that check_add.v names are those of the columns."""
    text = (READERS / "check_add.v").read_text()
    columns = SETS["add_body"].columns
    top = sum(4 * vectors.WIDTHS[column.dtype.name] for column in columns.values())
    assert f"reg [{top - 1}:0] rows" in text and f"ROWS = {vectors.ROWS};" in text
    for key, column in columns.items():
        width = 4 * vectors.WIDTHS[column.dtype.name]
        where = f"row[{top - 1}:{top - width}]"
        assert (f"q !== {where}" if key == "q" else f".{key}({where})") in text
        top -= width
    assert top == 0


SIMULATOR = shutil.which("iverilog")


def test_the_test_bench_runs(folder: Path, tmp_path: Path) -> None:
    """With a module that looks the sums up, and with one that has a wrong one."""
    if SIMULATOR is None:
        pytest.skip("there is no Icarus Verilog here")
    ports = "input [7:0] qa, qb, za, zb, z, input [63:0] sa, sb, s, output reg [7:0] q"
    rows = read_vectors.from_hex(folder / "add_body.hex")
    shutil.copy(folder / "add_body.hex", tmp_path)
    for changed in (0, 1):
        names = ("qa", "qb", "sa", "za", "sb", "zb", "s", "z")
        pattern = "_".join(f"%0{w}x" for w in (2, 2, 16, 2, 16, 2, 16, 2))
        lines = [
            f"232'h{pattern % tuple(int(rows[k][i]) for k in names)}: q = {int(rows['q'][i]) ^ (changed and i == 5)};"
            for i in range(vectors.ROWS)
        ]
        looked_up = f"case ({{qa, qb, sa, za, sb, zb, s, z}})\n{chr(10).join(lines)}\ndefault: q = 0;\nendcase"
        dut = f"module add({ports});\nalways @* {looked_up}\nendmodule\n"
        (tmp_path / "add.v").write_text(dut)
        subprocess.run([SIMULATOR, "-o", tmp_path / "out", tmp_path / "add.v", READERS / "check_add.v"], check=True)
        done = subprocess.run(["vvp", tmp_path / "out"], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert f"{vectors.ROWS} rows, {changed} differ" in done.stdout


# The page


@pytest.mark.book
@pytest.mark.usefixtures("built_book")
def test_the_built_page_links_every_file() -> None:
    text = (HTML / "book" / "vectors.html").read_text(encoding="utf-8")
    for name, data in vectors.files().items():
        assert f'href="../vectors/{name}"' in text
        assert (HTML / "vectors" / name).read_bytes() == data
        if name.count(".") and name != "index.json":
            assert vectors.digest(data) in text
    for path in READERS.iterdir():
        assert (HTML / "vectors" / path.name).read_bytes() == path.read_bytes()
