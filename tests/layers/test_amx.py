"""amx.py: oneDNN's kernels for AMX; which layers they take, every integer, and what is refused."""

from typing import Any

import numpy as np
import pytest

import live_layers
from drawn_layers import KINDS, Layer, answer, draw_conv, draw_linear, with_accum
from live_layers import differing, machine_of, same_layers
from oracle import RELEASE, ask
from qlearn import Machine, QTensor
from qlearn.layers import amx, conv, requantize
from qlearn.layers.kernels import Kernel, kernel_of
from qlearn.layers.linear import requantize_of
from qlearn.layers.windows import geometry
from qlearn.machine import _cpu

VNNI, ONE, TWO = Machine("onednn", "AVX512", 1), *(Machine("onednn", "AVX512", n, _used="AMX") for n in (1, 2))

LINEAR = [  # rows, features, outputs; whether oneDNN 3.12 named a kernel for AMX
    *((1, 256, 1000, False), (1, 255, 1000, True), (2, 256, 1000, True), (1, 257, 257, True), (1, 512, 256, False)),
    *((1, 512, 257, True), (32, 64, 8, False), (32, 64, 9, True), (33, 64, 1, True), (64, 16, 64, False)),
    *((64, 17, 64, True), (16, 100, 16, False), (17, 100, 16, True)),
]

CONVOLUTIONS = [  # x, weight, stride, padding, dilation, groups; the kernel that oneDNN 3.12 named
    ((1, 3, 64, 64), (64, 3, 7, 7), 2, 3, 1, 1, "brg_conv_fwd:amx"),
    ((2, 64, 14, 14), (64, 64, 3, 3), 1, 1, 1, 1, "brg_conv_fwd:amx"),
    ((2, 64, 14, 14), (128, 64, 3, 3), 2, 1, 1, 1, "brg_conv_fwd:amx"),
    ((1, 512, 2, 2), (512, 512, 3, 3), 1, 1, 1, 1, "brg_conv_fwd:amx"),
    ((1, 16, 2, 2), (32, 16, 3, 3), 1, 1, 1, 1, "brg_conv_fwd:vnni"),
    ((8, 64, 2, 2), (64, 64, 3, 3), 1, 1, 1, 1, "brg_conv_fwd:vnni"),
    ((11, 64, 2, 2), (64, 64, 3, 3), 1, 1, 1, 1, "brg_conv_fwd:amx"),
    ((5, 64, 2, 2), (64, 64, 1, 1), 1, 0, 1, 1, "brgconv_1x1:vnni"),
    ((6, 64, 2, 2), (64, 64, 1, 1), 1, 0, 1, 1, "brgconv_1x1:amx"),
    ((2, 64, 14, 14), (256, 64, 1, 1), 1, 0, 1, 1, "brgconv_1x1:amx"),
    ((2, 64, 14, 14), (128, 64, 1, 1), 2, 0, 1, 1, "brgconv_1x1:amx"),
    ((2, 18, 14, 14), (16, 18, 1, 1), 1, 0, 1, 1, "brgconv_1x1:vnni"),
    ((2, 18, 14, 14), (16, 18, 1, 1), 2, 0, 1, 1, "brgconv_1x1:amx"),
    ((2, 66, 14, 14), (16, 66, 1, 1), 2, 0, 1, 1, "jit:amx"),
    ((2, 68, 14, 14), (16, 68, 1, 1), 1, 0, 1, 1, "brgconv_1x1:amx"),
    ((2, 32, 14, 14), (32, 1, 3, 3), 1, 1, 1, 32, "brdgmm_dw:vnni"),
    ((2, 128, 14, 14), (128, 4, 3, 3), 1, 1, 1, 32, "brg_conv_fwd:amx"),
    ((2, 64, 14, 14), (64, 32, 3, 3), 1, 1, 1, 2, "brg_conv_fwd:amx"),
    ((2, 48, 14, 14), (48, 48, 3, 3), 1, 2, 2, 1, "brg_conv_fwd:amx"),
    ((2, 48, 9, 9), (48, 48, 3, 3), 1, 3, 1, 1, "brg_conv_fwd:vnni"),
    ((2, 20, 100), (40, 20, 3), 1, 1, 1, 1, "brg_conv_fwd:amx"),
    ((2, 20, 100), (40, 20, 3), 1, 3, 1, 1, "brg_conv_fwd:vnni"),
    ((2, 16, 5, 6, 7), (24, 16, 3, 3, 3), 1, 1, 1, 1, "brg_conv_fwd:amx"),
    ((2, 16, 5, 6, 7), (16, 1, 3, 3, 3), 1, 1, 1, 16, "brdgmm_dw:vnni"),
    ((2, 16, 4, 6, 7), (24, 16, 1, 1, 1), 2, 0, 1, 1, "brgconv_1x1:amx"),
    ((1, 64, 56, 56), (128, 64, 2, 2), 2, 0, 1, 1, "brg_conv_fwd:amx"),
]
SLOW = [  # two that oneDNN found slower with AMX, and their neighbors
    ((1, 128, 150, 150), (128, 128, 3, 3), 1, 1, 1, 1, "brg_conv_fwd:vnni"),
    ((1, 128, 149, 150), (128, 128, 3, 3), 1, 1, 1, 1, "brg_conv_fwd:amx"),
    ((1, 3, 640, 640), (32, 3, 3, 3), 1, 1, 1, 1, "brg_conv_fwd:vnni"),
    ((1, 3, 640, 639), (32, 3, 3, 3), 1, 1, 1, 1, "brg_conv_fwd:amx"),
]


def kernel(machine: Machine, x: tuple[int, ...], w: tuple[int, ...], *where: Any) -> Kernel:
    """That of a weight of shape w, for x of shape x."""
    weight = QTensor(np.zeros(w, np.int8), 1.0, 0, "qint8")
    return kernel_of(machine, weight, geometry(len(x) - 2, x, w, *where), x[0])


@pytest.mark.parametrize(("rows", "features", "outputs", "tiles"), LINEAR)
def test_which_linear_layers(rows: int, features: int, outputs: int, tiles: bool) -> None:
    weight = QTensor(np.zeros((outputs, features), np.int8), 1.0, 0, "qint8")
    expected = requantize.onednn_gemm if tiles else requantize.onednn_vnni
    assert requantize_of(ONE, weight, rows) is expected
    assert requantize_of(VNNI, weight, rows) is requantize.onednn_vnni


@pytest.mark.parametrize(("x", "w", "stride", "padding", "dilation", "groups", "name"), CONVOLUTIONS + SLOW)
def test_which_convolutions(x: Any, w: Any, stride: int, padding: int, dilation: int, groups: int, name: str) -> None:
    """A kernel of brgemm for AMX multiplies by both scales at once, all but that for wide images (below)."""
    where, tiles = (stride, padding, dilation, groups), name.startswith("brg") and name.endswith("amx")
    assert kernel(ONE, x, w, *where).steps == ("onednn_gemm" if tiles else "onednn_vnni")
    assert kernel(VNNI, x, w, *where).steps == "onednn_vnni"


def test_scales_one_by_one() -> None:
    """In wide images, and with several threads for one image where the kernel is 1 x 1; both named as for AMX."""
    for width, steps in ((255, "onednn_gemm"), (256, "onednn_vnni")):
        assert kernel(ONE, (1, 64, 9, width), (16, 64, 3, 3), 1, 1, 1, 1).steps == steps
    in_place = {width: kernel(ONE, (1, 64, 3, width + 2), (8, 64, 1, 3), 1, 0, 1, 1) for width in (256, 8191, 8192)}
    assert [k.steps for k in in_place.values()] == ["onednn_gemm", "onednn_gemm", "onednn_vnni"]
    for into, w in ((3, (3, 3)), (20, (3, 3)), (20, (3, 1))):  # few channels, laid side by side with the taps
        assert kernel(ONE, (1, into, 9, 300), (16, into, *w), 1, 0, 1, 1).steps == "onednn_gemm"
    for images, stride, out_of, steps in (
        (1, 1, 256, "vnni"),
        (1, 1, 257, "gemm"),
        (1, 2, 256, "gemm"),
        (2, 1, 8, "gemm"),
    ):
        where = ((images, 8, 56 * stride, 9), (out_of, 8, 1, 1), stride, 0, 1, 1)
        assert kernel(TWO, *where).steps == f"onednn_{steps}"
        assert kernel(ONE, *where).steps == "onednn_gemm"


@pytest.mark.parametrize(
    ("x", "w", "where", "message"),
    [
        ((2, 16, 36, 2), (64, 2, 3, 3), (2, 1, 1, 8), "stride must be 1"),
        ((1, 13, 29, 4), (19, 13, 1, 4), ([1, 2], 0, [2, 1], 1), "stride must be 1"),
        ((3, 32, 10, 1, 8), (3, 32, 1, 2, 3), (1, [0, 1, 2], 2, 1), "padding must leave x in each window"),
        ((1, 256, 41, 32), (130, 128, 7, 7), (1, 6, 2, 2), "dilation must be 1"),
        ((2, 16, 1, 5, 4), (128, 2, 3, 3, 3), (1, 1, 1, 8), "weight must have depth 1"),
        ((1, 48, 28, 28), (128, 24, 3, 3), (2, 1, 1, 2), "groups must be 1, or give at most 16"),
        ((1, 3, 3, 3, 3), (258, 1, 1, 1, 1), (3, 0, 1, 3), "groups must be 1, or give at most 16"),
        ((1, 2, 229), (2, 2, 3), (3, 0, 3, 1), "x and weight must be larger"),
        ((1, 8, 4, 8), (11, 8, 1, 1), ([2, 1], 0, 1, 1), "x and weight must be larger"),
    ],
)
def test_refused(x: Any, w: Any, where: Any, message: str) -> None:
    """Crashes, integers that differ from call to call, or a choice that is not known; without AMX there are none."""
    with pytest.raises(NotImplementedError, match=message):
        kernel(ONE, x, w, *where)
    assert kernel(VNNI, x, w, *where).steps == "onednn_vnni"


def test_networks_are_computed() -> None:
    """ResNet's and MobileNetV2's layers, of one image and of several, of 224 x 224 pixels and of 32 x 32."""
    kernels = []
    for images, size in ((1, 224), (8, 224), (1, 32), (128, 32)):
        kernels += [
            kernel(ONE, (images, 3, size, size), (out, 3, k, k), 2, k // 2, 1, 1) for out, k in ((64, 7), (32, 3))
        ]
        for into, side in ((64, size // 4), (128, size // 8), (256, size // 16), (512, size // 32)):
            x, half = (images, into, side, side), (images, into // 2, 2 * side, 2 * side)
            kernels += [
                kernel(ONE, x, (into, into, 3, 3), 1, 1, 1, 1),
                kernel(ONE, x, (4 * into, into, 1, 1), 1, 0, 1, 1),
            ]
            kernels += [kernel(ONE, half, (into, into // 2, k, k), 2, k // 2, 1, 1) for k in (1, 3)]
            for stride in (1, 2):
                assert kernel(ONE, x, (into, 1, 3, 3), stride, 1, 1, into).steps == "onednn_vnni"
            kernels += [kernel(ONE, x, (into, into // 32, 3, 3), 1, 1, 1, 32)]
    assert {k.steps for k in kernels} == {"onednn_gemm", "onednn_vnni"}


def test_machine() -> None:
    """AMX is what oneDNN uses; all else is as with VNNI, and it is known in one release."""
    assert ONE.amx and ONE.vnni and ONE.avx512 and ONE.cpu == "VNNI" and not VNNI.amx and ONE != VNNI
    for engine in ("x86", "onednn"):
        assert _cpu.unproven(engine, "VNNI", "VNNI", "AMX", "2.14") == ""
        assert _cpu.unproven(engine, "VNNI", "VNNI", "AMX", "2.15") == "oneDNN with AMX"
    weight = QTensor(np.zeros((64, 300), np.int8), 1.0, 0, "qint8")
    x86 = Machine("x86", "AVX512", 1, _used="AMX")
    assert requantize_of(x86, weight, 99) is requantize.fbgemm
    assert kernel(x86, (1, 64, 9, 9), (64, 64, 3, 3), 1, 1, 1, 1).steps == "onednn_gemm"
    assert kernel(x86, (1, 128, 9, 9), (128, 2, 3, 3), 1, 1, 1, 64).steps == "onednn_gemm"
    assert kernel(x86, (1, 256, 9, 9), (256, 2, 3, 3), 1, 1, 1, 128).steps == "fbgemm"


# Compared with PyTorch


def need() -> None:
    """Skip where oneDNN cannot be asked with AMX, or is not the one whose choice is known."""
    live_layers.need("onednn", "AMX")
    if RELEASE != _cpu.AMX:
        pytest.skip(f"oneDNN with AMX is known in release {_cpu.AMX}, this is {RELEASE}")


@pytest.mark.torch
@pytest.mark.parametrize(("engine", "uses"), [("onednn", True), ("x86", True), ("fbgemm", False), ("qnnpack", False)])
def test_from_torch(engine: str, uses: bool) -> None:
    need()
    found = machine_of(engine, "AVX512", 2, "AMX")
    assert found.amx == uses and found.vnni and found.cpu == "VNNI"


def telling(one: Layer, rng: np.random.Generator) -> Layer:
    """The same with sums of a few units, some of them near a tie: there the order of the scales shows."""
    taps, channels = one.weight[0].size, one.weight.shape[0]
    x, w = rng.integers(0, 2, one.x.shape), rng.integers(-1, 2, one.weight.shape)
    w *= rng.random(w.shape) < 20 / taps
    x_scale, w_scale = float(rng.uniform(0.01, 1)), rng.uniform(0.01, 0.1, channels)
    scale = x_scale * 0.02
    bias = (rng.integers(0, 2, channels) + 0.5) * scale - rng.integers(-4, 5, channels) * x_scale * w_scale
    zeros = np.zeros(channels, np.int64)
    one = one._replace(x=x.astype(np.uint8), weight=w.astype(np.int8), bias=bias.astype(np.float32), scale=scale)
    return one._replace(x_scale=x_scale, x_zero_point=0, w_scale=w_scale, w_zero_point=zeros, zero_point=0)


def computed(drawn: list[Layer], machine: Machine) -> list[Layer]:
    """Those that qlearn does not refuse."""
    found = []
    for one in drawn:
        try:
            answer(one, machine)
        except NotImplementedError:
            continue
        found.append(one)
    return found


def drawn_linear(rng: np.random.Generator) -> list[Layer]:
    """Of sizes around those where the choice changes."""
    found = []
    for rows, features, outputs, _ in LINEAR * 3:
        found += [draw_linear(rng, (rows, features), outputs, bits=8, symmetric=True)]
        found += [telling(found[-1], rng)]
    return found


def drawn_convolutions(rng: np.random.Generator, machine: Machine, times: int) -> list[Layer]:
    """Of each kind, in one to three dimensions, half of them telling; some with another tensor added on onednn."""
    found = []
    for kind in KINDS * times:
        for n in (1, 2, 2, 2, 3):
            one = draw_conv(rng, n, VNNI, bits=8, symmetric=True, kind=kind, longest=40 if n == 2 else 20)
            one = telling(one, rng) if rng.random() < 0.5 else one
            found.append(with_accum(rng, one) if n == 2 and machine.engine == "onednn" and rng.random() < 0.3 else one)
    for x, w, *where, _ in CONVOLUTIONS:
        n = len(x) - 2
        lengths = ([k] * n if isinstance(k, int) else k for k in where[:3])
        codes, weight = np.zeros(x, np.uint8), np.zeros(w, np.int8)
        one = Layer(f"conv{n}d", codes, 1.0, 0, "channels_last", weight, 1.0, 0, None, (*lengths, where[3]), 1.0, 0)
        found.append(telling(one, rng))
    return computed(found, machine)


@pytest.mark.torch
@pytest.mark.parametrize("threads", [1, 2])
def test_linear_as_pytorch(threads: int, rng: np.random.Generator) -> None:
    need()
    same_layers(drawn_linear(rng), "onednn", "AVX512", threads, "AMX")


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["onednn", "x86"])
@pytest.mark.parametrize("threads", [1, 2])
def test_convolutions_as_pytorch(engine: str, threads: int, rng: np.random.Generator) -> None:
    need()
    drawn = drawn_convolutions(rng, machine_of(engine, "AVX512", threads, "AMX"), 5)
    assert len(drawn) > 50
    same_layers(drawn, engine, "AVX512", threads, "AMX")


@pytest.mark.torch
def test_the_choice_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a kernel for AMX, or always one: both show."""
    need()
    rng, machine = np.random.default_rng(3), machine_of("onednn", "AVX512", 1, "AMX")
    for drawn in (drawn_linear(rng), drawn_convolutions(rng, machine, 5)):
        theirs = ask("AVX512", live_layers.torch_answers, drawn, engine="onednn", cpu="AMX")
        assert differing(drawn, theirs, machine) == 0
        for steps in ("onednn_vnni", "onednn_gemm"):
            with monkeypatch.context() as patch:
                patch.setattr(conv, "kernel_of", lambda *args, steps=steps: Kernel(steps))
                patch.setattr(amx, "takes_linear", lambda *args, steps=steps: steps == "onednn_gemm")
                assert differing(drawn, theirs, machine) > 0
