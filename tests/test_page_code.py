"""What a page gives in C or Verilog, where no cell runs it: compiled from the page's own text, and compared."""

import ctypes
import doctest
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qlearn
from book import ROOT
from qlearn import recordings
from qlearn.codes.rounding import fma, reciprocal
from qlearn.integers import Line, LineLate, Thresholds, step_of

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler, cc")
DRIVERS = {
    "fbgemm": "fbgemm(a[i], sx, sw, b, s, z, per_channel)",
    "qnnpack": "qnnpack(a[i], sx, sw, b, s, z)",
    "onednn": "onednn(a[i], sx, sw, b, s, z, per_channel, 1)",
    "onednn_avx2": "onednn(a[i], sx, sw, b, s, z, per_channel, 0)",
}


def blocks(page: str, language: str) -> list[str]:
    """The code of one language that stands in a page, in its order."""
    text = (ROOT / "book" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def compiled(folder: Path, source: str, *options: str) -> ctypes.CDLL:
    """A library of C code."""
    (folder / "code.c").write_text(source)
    options = options or ("-std=c99",)
    library = ("-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", "code.so", "code.c", "-lm")
    subprocess.run(["cc", *options, *library], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "code.so"))


def pointer(array: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def codes_of(edges: Any, acc: Any) -> Any:
    return np.searchsorted(edges, acc, side="right")


def recorded_layers(kept: Any, lane: str) -> Any:
    """Each recorded layer of a lane: its numbers, whether per channel, and its 255 thresholds."""
    for pair, channel, scale, zero, bias in np.ndindex(kept[lane].shape[:-1]):
        (sx, sw), s = kept["pairs"][pair], kept["scales"][pair, scale]
        z, b = int(kept["zero_points"][zero]), kept["biases"][pair, bias]
        paper = np.ceil(((np.arange(1, 256) - 0.5 - z) * s - b) / (sx * sw))
        yield (sx, sw, b, s, z), channel, paper + kept[lane][pair, channel, scale, zero, bias]


@needs_cc
@pytest.mark.parametrize("lane", DRIVERS)
def test_the_last_step_of_a_layer_in_c(lane: str, tmp_path: Path) -> None:
    """Chapter 6's C gives PyTorch's code at each threshold and one before it, of all recorded layers."""
    source = blocks("linear", "c")[0] + (
        "void each(int n, const int32_t *a, double sx, double sw, float b, double s, int z, int per_channel,\n"
        f"uint8_t *q) {{ for (int i = 0; i < n; i++) q[i] = {DRIVERS[lane]}; }}\n"
    )
    c = compiled(tmp_path, source)
    number, whole = ctypes.c_double, ctypes.c_int
    c.each.argtypes = [whole, ctypes.c_void_p, number, number, ctypes.c_float, number, whole, whole, ctypes.c_void_p]
    kept = {key.removeprefix("avx2/"): array for key, array in recordings.load("staircase").items()}
    count = 0
    for (sx, sw, b, s, z), channel, edges in recorded_layers(kept, lane):
        acc = np.unique([edges, edges - 1]).astype(np.int32)
        found = np.empty(acc.size, np.uint8)
        c.each(acc.size, pointer(acc), sx, sw, b, s, z, channel, pointer(found))
        np.testing.assert_array_equal(found, codes_of(edges, acc))
        count += acc.size
    assert count > 1_000_000


@needs_cc
def test_a_code_of_any_float32_in_c(tmp_path: Path) -> None:
    """Chapter 2's C quantizes as 2.14 does: each 997th float32, the edges, and what lies around all ties."""
    c = compiled(
        tmp_path,
        blocks("rounding", "c")[0]
        + (
            "void each(int n, const float *x, double s, int32_t z, uint8_t *q) "
            "{ for (int i = 0; i < n; i++) q[i] = quantize(x[i], s, z); }\n"
        ),
    )
    c.each.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_double, ctypes.c_int, ctypes.c_void_p]
    some = np.arange(0, 2**32, 997, dtype=np.uint64).astype(np.uint32).view(np.float32)
    edges = np.float32([np.inf, -np.inf, np.nan, 0, -0.0])
    for s, z in ((0.05, 3), (0.05, 128), (1.0, 127), (1.0, 255), (0.009925744496285915, 75), (1 / 16, 0)):
        around = (np.concatenate([(np.arange(256) - 0.5 - z) * s, [2.0**31 * s, -(2.0**31) * s]])).astype(np.float32)
        near = (around.view(np.int32)[:, None] + np.arange(-12, 13, dtype=np.int32)).ravel().view(np.float32)
        x = np.concatenate([some, edges, near])
        found = np.empty(x.size, np.uint8)
        c.each(x.size, pointer(x), s, z, pointer(found))
        machine = qlearn.Machine("x86", "AVX2", threads=1)
        theirs = qlearn.quantize_per_tensor(x, s, z, "quint8", machine=machine).int_repr()
        np.testing.assert_array_equal(found, theirs)


class Params(ctypes.Structure):
    """A scale and a zero point, as Chapter 4's C takes them."""

    _fields_ = (("s", ctypes.c_float), ("z", ctypes.c_int))


SUMS = {
    "question": ((0.009925744496285915, 75), (0.02780967578291893, 61), (0.03012926385428833, 56)),
    "tidy": ((0.05, 100), (0.05, 100), (0.1, 128)),
    "half": ((0.037, 90), (0.0185, 30), (0.074, 100)),
    "quarters": ((0.03, 77), (0.03, 51), (0.04, 101)),
    "binary": ((1 / 16, 75), (1 / 16, 61), (1 / 8, 57)),
}


def sum_in_c(c: ctypes.CDLL, q1: Any, q2: Any, parameters: Any) -> Any:
    total = np.empty_like(q1)
    arguments = [pointer(q1), pointer(q2), pointer(total), ctypes.c_size_t(q1.size)]
    c.add(*arguments, *(Params(*each) for each in parameters))
    return total


@needs_cc
@pytest.mark.parametrize("name", SUMS)
def test_the_sum_of_two_tensors_in_c(name: str, tmp_path: Path) -> None:
    """Chapter 4's C, on all pairs of codes in the body and in the tail, and on each length up to three blocks."""
    c, machine = compiled(tmp_path, blocks("elementwise", "c")[0]), qlearn.Machine("fbgemm", "AVX2", threads=1)
    one, two, out = SUMS[name]

    def theirs(q1: Any, q2: Any) -> Any:
        a, b = qlearn.QTensor(q1, *one, "quint8"), qlearn.QTensor(q2, *two, "quint8")
        return qlearn.add(a, b, *out, machine=machine).int_repr()

    q1, q2 = (np.ascontiguousarray(q.ravel(), np.uint8) for q in np.mgrid[:256, :256])
    np.testing.assert_array_equal(sum_in_c(c, q1, q2, SUMS[name]), theirs(q1, q2))
    for start in range(0, q1.size, 63):
        pair = q1[start : start + 63].copy(), q2[start : start + 63].copy()
        np.testing.assert_array_equal(sum_in_c(c, *pair, SUMS[name]), theirs(*pair))
    rng = np.random.default_rng(4)
    for n in range(193):
        pair = tuple(rng.integers(0, 256, (2, n)).astype(np.uint8))
        np.testing.assert_array_equal(sum_in_c(c, *pair, SUMS[name]), theirs(*pair))


@needs_cc
def test_a_layer_by_eight_comparisons_in_c(tmp_path: Path) -> None:
    c = compiled(tmp_path, blocks("linear", "c")[1])
    c.code.restype = ctypes.c_uint8
    rng = np.random.default_rng(6)
    table = np.sort(rng.integers(-5000, 5000, 255)).astype(np.int32)
    for a in [*range(-5002, 5002), -(2**31), 2**31 - 1]:
        assert c.code(ctypes.c_int32(a), pointer(table)) == codes_of(table, a)


def sums_in_c(c: ctypes.CDLL) -> Any:
    c.sum.restype = ctypes.c_uint8
    return np.array([[c.sum(a, b) for b in range(256)] for a in range(256)])


@needs_cc
def test_a_sum_that_a_compiler_may_fuse(tmp_path: Path) -> None:
    """Chapter 8's C is the tail's sum by the standard, and what the chapter prints where gcc fuses."""
    source, q, s = blocks("machine", "c")[0], np.arange(256) - 100, np.float32(0.05)
    product = q.astype(np.float32) * s
    as_written, fused = (
        np.clip(np.rint(x * reciprocal(0.1)) + 128, 0, 255)
        for x in (product[:, None] + product, fma(q[:, None], s, product))
    )
    assert (as_written != fused).any()
    np.testing.assert_array_equal(sums_in_c(compiled(tmp_path, source)), as_written)
    cpuinfo = Path("/proc/cpuinfo")
    if not (cpuinfo.exists() and " fma " in cpuinfo.read_text() and shutil.which("gcc")):
        pytest.skip("no gcc, or a CPU without a fused multiply-add: the fused sum cannot run here")
    (tmp_path / "fused").mkdir()
    target = sums_in_c(compiled(tmp_path / "fused", source, "-mfma", "-ffp-contract=fast"))
    assert any(np.array_equal(target, either) for either in (fused, fused.T))  # which product, gcc chooses


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="no Verilog simulator, iverilog")
def test_a_pair_in_verilog(tmp_path: Path) -> None:
    """Chapter 7's module clamps a pair of products as vpmaddubsw does: corners and draws."""
    rng = np.random.default_rng(7)
    ends = np.stack(np.meshgrid([0, 255], [-128, 127], [0, 255], [-128, 127])).reshape(4, -1)
    drawn = rng.integers([[0], [-128]] * 2, [[256], [128]] * 2, (4, 100_000))
    edge = [[211, 128, 129, 255, 129], [71, -128, -128, 127, 127], [171, 128, 128, 3, 129], [107, -128, -128, 127, 127]]
    x0, w0, x1, w1 = np.concatenate([ends, drawn, edge], axis=1)
    y = np.clip(x0 * w0 + x1 * w1, -(2**15), 2**15 - 1)
    bench = f"""
module bench;
    reg [31:0] taps [0:{y.size - 1}];
    reg [15:0] right [0:{y.size - 1}];
    reg [7:0] x0, x1; reg signed [7:0] w0, w1; wire signed [15:0] y;
    integer i, wrong = 0;
    pair unit(.x0(x0), .x1(x1), .w0(w0), .w1(w1), .y(y));
    initial begin
        $readmemh("taps.hex", taps); $readmemh("right.hex", right);
        for (i = 0; i < {y.size}; i = i + 1) begin
            {{x0, w0, x1, w1}} = taps[i]; #1;
            if (y !== right[i]) wrong = wrong + 1;
        end
        $display("%0d wrong", wrong);
    end
endmodule
"""
    (tmp_path / "code.v").write_text("\n".join([*blocks("conv", "verilog"), bench]))
    words = (x0 << 24) | ((w0 & 255) << 16) | (x1 << 8) | (w1 & 255)
    np.savetxt(tmp_path / "taps.hex", words, fmt="%08x")
    np.savetxt(tmp_path / "right.hex", y & 0xFFFF, fmt="%04x")
    subprocess.run(["iverilog", "-g2005", "-Wall", "-o", "bench", "code.v"], cwd=tmp_path, check=True)
    done = subprocess.run(["vvp", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.split("\n")[0] == "0 wrong"


def test_the_library_page_shows_what_its_example_returns() -> None:
    text = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    example = doctest.DocTestParser().get_doctest(text.partition("## Quantized tensors")[0], {}, "api.md", None, 0)
    assert len(example.examples) >= 4
    results = doctest.DocTestRunner(verbose=False).run(example)
    assert results.failed == 0 and qlearn.add


@needs_cc
def test_a_line_with_late_codes_in_c(tmp_path: Path) -> None:
    """Chapter 9's C gives the right code at each threshold and around it, of lines and of late codes, with ReLU."""
    source = blocks("integers", "c")[0] + (
        "void each(int n, const int32_t *a, const Channel *c, int least, uint8_t *q) "
        "{ for (int i = 0; i < n; i++) q[i] = requantize(a[i], c, least); }\n"
    )
    c = compiled(tmp_path, source, "-std=c99", "-ffreestanding")
    kept = recordings.load("integers")
    kinds = set()
    for lane in ("fbgemm", "onednn", "qnnpack"):
        for first, layer in zip(kept[f"avx2/{lane}"], kept["avx2/layers"], strict=True):
            low, high = (int(end) for end in layer[5:])
            for least in (0, int(layer[4])):
                form = step_of(partial(np_codes, first, least), low, high, (least, 255))
                kinds.add(type(form))
                if isinstance(form, Thresholds):
                    continue
                channel = Channel(form.M, form.B, form.S)
                for code in getattr(form, "late", ()):
                    channel.late[code >> 3] |= 1 << (code & 7)
                acc = np.unique(np.clip([first, first - 1, first + 1], low, high)).astype(np.int32)
                found = np.empty(acc.size, np.uint8)
                c.each(acc.size, pointer(acc), ctypes.byref(channel), least, pointer(found))
                np.testing.assert_array_equal(found, np_codes(first, least, acc))
    assert kinds == {Line, LineLate, Thresholds}


def np_codes(first: Any, least: int, acc: Any) -> Any:
    return np.maximum(codes_of(first, acc), least)


class Channel(ctypes.Structure):
    """A line with late codes, as Chapter 9's C takes it."""

    _fields_ = (("M", ctypes.c_int32), ("B", ctypes.c_int64), ("S", ctypes.c_uint8), ("late", ctypes.c_uint8 * 32))
