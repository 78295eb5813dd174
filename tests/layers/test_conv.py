"""conv.py: PyTorch's quantized convolutions, every integer, on each engine."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import live_layers
import qlearn
from drawn_layers import KINDS, Layer, answer, draw_conv, sound, with_accum
from live_layers import ENGINES, differing, machine_of, same_layers
from oracle import ask, compare
from qlearn import Machine, QTensor
from qlearn.codes.rounding import fma, reciprocal
from qlearn.layers import conv, requantize
from qlearn.layers.kernels import Kernel, kernel_of
from recorded import Source, each
from strategies import bad_scales, not_integers, outside


def drawn_for(engine: str, bits: int, rng: np.random.Generator, cpu: str = "") -> list[Layer]:
    """Five convolutions of each kind, in one to three dimensions; onednn takes only weight zero points of 0."""
    machine = machine_of(engine, cpu=cpu)
    return [
        draw_conv(rng, n, machine, bits=bits, symmetric=engine == "onednn" or i % 3 > 0, kind=kind)
        for kind in KINDS
        for i, n in enumerate((1, 2, 2, 2, 3))
    ]


@pytest.mark.torch
@live_layers.each_engine
@live_layers.each_width
def test_as_pytorch(capability: str, engine: str, bits: int, rng: np.random.Generator) -> None:
    live_layers.need(engine)
    for threads in (1, 2):
        same_layers(drawn_for(engine, bits, rng), engine, capability, threads)


@pytest.mark.torch
@live_layers.each_lesser_cpu
@live_layers.each_engine
@live_layers.each_width
def test_without_vnni(engine: str, bits: int, cpu: str, rng: np.random.Generator) -> None:
    """The kernels that a CPU without VNNI takes, which any CPU can be made to take."""
    live_layers.need(engine, cpu)
    for _ in range(2):
        same_layers(drawn_for(engine, bits, rng, cpu), engine, cpu=cpu)


def small_groups(rng: np.random.Generator) -> list[Layer]:
    """2, 4, 8 and 16 channels in each of a few groups, for which FBGEMM has a kernel that goes by the CPU itself."""
    kinds = ((into, groups) for into in (2, 4, 8, 16) for groups in (1, 2, 3, 4, 6, 8, 12, 16, 32))
    return [
        layer(
            x=rng.integers(0, 256, (2, into * groups, 5, 6), dtype=np.uint8),
            weight=rng.integers(-128, 128, (into * groups, into, 3, 3), dtype=np.int8),
            bias=None,
            geometry=(1, 1, 1, groups),
            scale=0.05 * into,
            zero_point=120,
        )
        for into, groups in kinds
    ]


@pytest.mark.torch
@live_layers.each_cpu
@pytest.mark.parametrize("engine", ["fbgemm", "x86"])
def test_small_groups(engine: str, cpu: str, rng: np.random.Generator) -> None:
    """Whatever FBGEMM is told to use, all are right, or those that leave its memory are refused."""
    live_layers.need(engine, cpu)
    machine = machine_of(engine, cpu=cpu)
    drawn = [one for one in small_groups(rng) if sound(one, machine)]
    assert len(drawn) > (0 if machine.cpu == "AVX512" else 30)
    same_layers(drawn, engine, cpu=cpu)


def layer(operator: str = "conv2d", **changes: Any) -> Layer:
    """A small convolution of 3 channels into 4, with changes."""
    n = int(operator[4])
    rng = np.random.default_rng(n)
    x = rng.integers(0, 128, (2, 3, *(9, 8, 5)[:n]), dtype=np.uint8)
    weight = rng.integers(-100, 128, (4, 3, *(3, 3, 2)[:n]), dtype=np.int8)
    bias = np.linspace(-1, 1, 4, dtype=np.float32)
    plain = Layer(operator, x, 0.05, 3, "contiguous", weight, 0.02, 0, bias, (1, 1, 1, 1), 1.0, 3)
    plain = plain._replace(**changes)
    stride, padding, dilation, groups = plain.geometry
    return plain._replace(geometry=([stride] * n, [padding] * n, [dilation] * n, groups))


@pytest.mark.torch
@live_layers.each_engine
def test_extremes(engine: str) -> None:
    """No images, one channel, one pixel, large paddings, kernels, strides, dilations; scales and biases of any size."""
    live_layers.need(engine)
    grouped = {"x": np.arange(96, dtype=np.uint8).reshape(1, 6, 4, 4) * 2, "geometry": (1, 1, 1, 2)}
    depthwise = {
        "x": np.arange(128, dtype=np.uint8).reshape(1, 8, 4, 4) * 2,
        "weight": (np.arange(72) * 29 % 256 - 128).astype(np.int8).reshape(8, 1, 3, 3),
        "bias": None,
    }
    drawn = []
    for name in ("conv1d", "conv2d", "conv3d"):
        one = layer(name)
        x, w = one.x, one.weight
        drawn += [one, layer(name, x=x[:0]), layer(name, x=x[:1]), layer(name, weight=w[:1], bias=None)]
        drawn += [
            layer(name, x=x[:, :1], weight=w[:, :1]),
            layer(name, x=np.zeros_like(w[:, :3]), geometry=(1, 0, 1, 1)),
        ]
    for padding in (3, 5, 9):
        drawn += [layer(geometry=(1, padding, 1, 1)), layer(**grouped | {"geometry": (1, padding, 1, 2)})]
        drawn += [layer(**depthwise, geometry=(1, padding, 1, 8))]
    drawn += [layer(x=np.full((1, 3, 30, 30), 99, np.uint8), geometry=g) for g in ((17, 1, 1, 1), (1, 6, 9, 1))]
    drawn += [layer(x=np.full((1, 3, 20, 20), 99, np.uint8), weight=np.full((4, 3, 15, 13), 7, np.int8))]
    for change in ({}, grouped):
        drawn += [layer(**change, scale=scale) for scale in (1e-12, 1e-20, 1e-35, 1e30)]
        drawn += [layer(**change, x_scale=scale) for scale in (1e-30, 1e20, 1e30)]
        for v in (np.inf, -np.inf, np.nan, 1e30, -1e30, 3e9):
            drawn += [layer(**change, bias=np.full(4, v, np.float32))]
            drawn += [drawn[-1]._replace(w_scale=np.full(4, 0.02), w_zero_point=np.zeros(4, np.int64))]
            drawn += [drawn[-1]._replace(operator="conv2d_relu")]
        if engine != "qnnpack":  # it refuses these
            drawn += [layer(**change, scale=1e-40), layer(**change, x_scale=1e-42), layer(**change, x_scale=1e38)]
    many = {"x": np.tile(depthwise["x"], (1, 16, 1, 1)), "weight": np.tile(depthwise["weight"], (16, 1, 1, 1))}
    drawn += [layer(**depthwise | many, geometry=(1, 1, 1, 128))]
    drawn += [layer(layout=layout) for layout in ("channels_last", "sliced", "channels_last_sliced")]
    for cpu in live_layers.cpus(engine):
        allowed = [one for one in drawn if sound(one, machine_of(engine, cpu=cpu))]
        assert len(allowed) >= len(drawn) - 9
        same_layers(allowed, engine, cpu=cpu)


@pytest.mark.torch
def test_both_refuse() -> None:
    """What qlearn refuses, PyTorch refuses on at least the engine named here."""
    too_small = layer(x=layer().x[:, :, :1], geometry=(1, 0, 1, 1))
    refused = {
        "fbgemm": [too_small, layer(geometry=(1, 1, 1, 3)), layer(weight=layer().weight[:, :2])],
        "qnnpack": [layer(scale=1e-40), too_small],
        "onednn": [layer(w_zero_point=3), layer(geometry=(0, 1, 1, 1)), layer(geometry=(1, 1, 0, 1))],
    }
    live_layers.both_refuse(refused, r"(scale|weight|x|groups|stride|dilation) must")


@pytest.mark.torch
@live_layers.each_cpu
def test_conv2d_add(cpu: str, rng: np.random.Generator) -> None:
    """The sum with another tensor before the rounding, on onednn."""
    live_layers.need("onednn", cpu)
    drawn = [
        draw_conv(rng, 2, machine_of("onednn", cpu=cpu), bits=7 + i % 2, symmetric=True, kind=kind, longest=20)
        for kind in KINDS
        for i in range(60)
    ]
    same_layers([with_accum(rng, one) for one in drawn], "onednn", cpu=cpu)


OTHER_SUMS = {
    "scale as it is": lambda q, s, y, fused: fma(q, np.float32(s), y) if fused else y + q * np.float32(s),
    "rounded once or twice": lambda q, s, y, fused: y + q * twice(s) if fused else fma(q, twice(s), y),
    "inverted from float64": lambda q, s, y, fused: (
        fma(q, reciprocal(1 / s), y) if fused else y + q * reciprocal(1 / s)
    ),
}


def twice(scale: float) -> Any:
    return reciprocal(reciprocal(scale))


@pytest.mark.torch
@pytest.mark.parametrize("cpu", ["", "AVX2"])
@pytest.mark.parametrize("change", OTHER_SUMS)
def test_conv2d_add_step_by_step(cpu: str, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step of the sum, changed, shows; without VNNI in oneDNN's reference, which rounds twice."""
    live_layers.need("onednn", cpu)
    rng, machine = np.random.default_rng(11), machine_of("onednn", cpu=cpu)
    kind = "depthwise" if cpu else "pointwise"
    drawn = [draw_conv(rng, 2, machine, bits=7, symmetric=True, kind=kind, longest=40) for _ in range(600)]
    drawn = [with_accum(rng, one) for one in drawn]
    theirs = ask("DEFAULT", live_layers.torch_answers, drawn, engine="onednn", cpu=cpu)
    assert differing(drawn, theirs, machine) == 0

    def other(y: Any, accum: Any, *, fused: bool = True) -> Any:
        codes, scale, zero_point = accum
        return OTHER_SUMS[change](codes.astype(np.float32) - np.float32(zero_point), scale, y, fused)

    monkeypatch.setattr(requantize, "_add", other)
    assert differing(drawn, theirs, machine) > 0


@pytest.mark.torch
def test_conv2d_add_elsewhere() -> None:
    """The other engines have no such operator, and onednn adds only what has the result's shape."""
    one = with_accum(np.random.default_rng(0), layer())
    for engine in ("fbgemm", "x86", "qnnpack"):
        assert "find engine" in ask("DEFAULT", live_layers.torch_answers, [one], engine=engine)[0]
        with pytest.raises(ValueError, match=f"machine must have the engine onednn.* got {engine}"):
            answer(one, machine_of(engine))
    x, weight, accum = *one.tensors(), *one.added()
    rest = weight, None, 1, 0, 1, 1, 0.5, 0
    onednn = Machine("onednn", "AVX2", 1)
    with pytest.raises(ValueError, match=r"accum must have shape \(2, 4, 7, 6\), got \(2, 3, 9, 8\)"):
        qlearn.conv2d_add(x, x, *rest, machine=onednn)
    with pytest.raises(ValueError, match="accum must be quint8, got qint8"):
        qlearn.conv2d_add_relu(x, QTensor(np.zeros(accum.shape, np.int8), 0.1, 0, "qint8"), *rest, machine=onednn)
    with pytest.raises(TypeError, match="accum must be a QTensor"):
        qlearn.conv2d_add(x, None, *rest, machine=onednn)  # type: ignore[arg-type]


OTHER = {  # instead of the right kernel
    "onednn_avx2": Kernel("onednn_reference"),
    "onednn_reference": Kernel("onednn_avx2", "channels"),
    "onednn_vnni": Kernel("onednn_gemm", "channels"),
    "onednn_gemm": Kernel("onednn_vnni", "taps inside"),
}


@pytest.mark.torch
@pytest.mark.parametrize(
    ("cpu", "n", "kind"),
    [
        *(("AVX2", 2, "any"), ("AVX2", 2, "grouped"), ("AVX2", 2, "depthwise"), ("AVX2", 3, "depthwise")),
        *(("AVX512", 2, "grouped"), ("AVX512", 2, "depthwise"), ("AVX512", 3, "depthwise")),
    ],
)
def test_which_kernels_of_onednn(cpu: str, n: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their last steps differ: the wrong choice shows."""
    live_layers.need("onednn", cpu)
    rng = np.random.default_rng(5)
    machine = machine_of("onednn", cpu=cpu)
    drawn = [draw_conv(rng, n, machine, bits=7, symmetric=True, kind=kind, longest=20) for _ in range(100)]
    theirs = ask("DEFAULT", live_layers.torch_answers, drawn, engine="onednn", cpu=cpu)
    assert differing(drawn, theirs, machine) == 0
    monkeypatch.setattr(conv, "kernel_of", lambda *args: OTHER[kernel_of(*args).steps])
    assert differing(drawn, theirs, machine) > 0


@each("conv")
def test_recorded(source: Source) -> None:
    r = source.arrays
    x_scale, x_zero_point, w_scale, zero_point = r["parameters"].tolist()
    outputs = [key for key in r if key.split("/")[0] in ENGINES]
    for key in outputs:
        engine, shape, bits, name = key.split("/")
        w, scales = r[f"{shape}/weight"], w_scale * r[f"{shape}/factors"]
        weight = QTensor(w, w_scale, 0, "qint8")
        if name != "tensor":
            weight = QTensor(w, scales, np.zeros(len(w), int), "qint8", 0)
        x = QTensor(r[f"{shape}/x/{bits}"], x_scale, int(x_zero_point), "quint8")
        to = (*r[f"{shape}/geometry"].tolist(), float(r[f"{shape}/scale"]), int(zero_point))
        f = qlearn.conv2d_relu if name == "relu" else qlearn.conv2d
        ours = f(x, weight, r[f"{shape}/bias"], *to, machine=source.machine(engine))
        compare("conv, recorded", ours.int_repr(), r[key], key)
    assert len(outputs) > 70


@live_layers.each_engine
@pytest.mark.parametrize("vnni", [True, False])
def test_pairs(engine: str, vnni: bool) -> None:
    """Where 255 * 127 + 255 * 127 is cut to 32,767: two taps of one channel, and two channels of one tap."""
    two_taps = QTensor(np.full((1, 1, 2), 127), 1.0, 0, "qint8"), QTensor(np.full((1, 1, 2), 255), 1.0, 0, "quint8")
    channels = QTensor(np.full((1, 2, 1), 127), 1.0, 0, "qint8"), QTensor(np.full((1, 2, 1), 255), 1.0, 0, "quint8")
    for name, (w, x) in (("taps", two_taps), ("channels", channels)):
        out = qlearn.conv1d(x, w, None, 1, 0, 1, 1, 512.0, 0, machine=Machine(engine, "AVX2", 1, vnni))
        fbgemm, onednn = engine in ("fbgemm", "x86"), engine == "onednn"
        saturates = not vnni and (fbgemm or (onednn and name == "channels"))
        assert out.int_repr().item() == (64 if saturates else 127), name


def test_depthwise_saturates_with_vnni_too() -> None:
    """FBGEMM's depthwise kernel, on the engine fbgemm; x86 takes oneDNN's with VNNI, up to 100 groups."""
    for engine, channels, expected in (("fbgemm", 8, 64), ("x86", 8, 127), ("x86", 104, 64), ("fbgemm", 9, 127)):
        w = np.zeros((channels, 1, 3, 3), int)
        w[:, 0, 0, :2] = 127
        x = QTensor(np.full((1, channels, 3, 3), 255), 1.0, 0, "quint8")
        out = qlearn.conv2d(
            x, QTensor(w, 1.0, 0, "qint8"), None, 1, 1, 1, channels, 512.0, 0, machine=Machine(engine, "AVX512", 1)
        )
        assert (out.int_repr()[0, :, 1, 1] == expected).all(), engine


def test_the_padding_saturates_too() -> None:
    """FBGEMM pads with the zero point: 255 * 127 + 255 * 127 is cut to 32,767 where every code is 0."""
    w = np.zeros((8, 1, 3, 3), int)
    w[:, 0, 0, :2] = 127
    x = QTensor(np.zeros((1, 8, 3, 3), int), 1.0, 255, "quint8")
    machine = Machine("fbgemm", "AVX512", 1)
    out = qlearn.conv2d(x, QTensor(w, 1.0, 0, "qint8"), None, 1, 1, 1, 8, 512.0, 128, machine=machine)
    assert (out.int_repr()[0, :, 0, 0] == 65).all()  # 128 - (2 * 255 * 127 - 32767) / 512; it would be 128


# Bad input is refused, by name

X, W = layer().tensors()


@given(bad_scales)
def test_bad_scale(scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        qlearn.conv2d(X, W, None, 1, 1, 1, 1, scale, 0)


@given(outside("quint8"))
def test_bad_zero_point(zero_point: int) -> None:
    with pytest.raises((ValueError, TypeError), match="zero_point must be"):
        qlearn.conv2d(X, W, None, 1, 1, 1, 1, 0.5, zero_point)


@given(not_integers, st.sampled_from(["stride", "padding", "dilation", "groups"]))
def test_not_integers(value: Any, name: str) -> None:
    given_ = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1} | {name: value}
    with pytest.raises((TypeError, ValueError), match=f"{name} must"):
        qlearn.conv2d(X, W, None, *given_.values(), 0.5, 0)


@pytest.mark.parametrize(
    ("geometry", "match"),
    [
        ((0, 1, 1, 1), "stride must be an integer or 2 of them, at least 1, got 0"),
        (((1, 1, 1), 1, 1, 1), r"stride must be an integer or 2 of them, at least 1, got \(1, 1, 1\)"),
        ((1, -1, 1, 1), "padding must be .* at least 0, got -1"),
        ((1, 1, (1, 0), 1), r"dilation must be .* got \(1, 0\)"),
        ((1, 1, 1, 0), "groups must divide .* got 0"),
        ((1, 1, 1, 2), "groups must divide the channels of x and of weight, 3 and 4, got 2"),
        ((1, 0, 9, 1), r"weight must not be larger than the padded x: kernel \(3, 3\), dilation \(9, 9\)"),
    ],
)
def test_geometry_that_does_not_fit(geometry: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        qlearn.conv2d(X, W, None, *geometry, 0.5, 0)


def test_tensors_that_do_not_fit() -> None:
    x, w = X.int_repr(), W.int_repr()

    def qw(values: Any, *args: Any) -> QTensor:
        return QTensor(values, *(args or (0.1, 0)), "qint8")

    def qx(values: Any) -> QTensor:
        return QTensor(values, 0.1, 0, "quint8")

    for a, b, match in (
        (qx(x[0]), W, r"x must have 4 dimensions: N, C and 2 lengths, got shape \(3, 9, 8\)"),
        (X, qw(w[0]), r"weight must have 4 dimensions: M, C / groups and 2 lengths, got shape \(3, 3, 3\)"),
        (X, qw(w[:, :2]), r"weight must have 3 channels, those of x / groups, got shape \(4, 2, 3, 3\)"),
        (qx(x[:, :, :0]), W, "x and weight must not be empty"),
        (X, qw(w[:0]), "x and weight must not be empty"),
        (X, qx(x), "weight must be qint8, got quint8"),
        (X, QTensor(w, np.full(3, 0.1), np.zeros(3, int), "qint8", 1), "along axis 0, got axis 1"),
        (QTensor(x // 2, 0.1, 0, "qint8"), W, "x must be quint8, got qint8"),
    ):
        with pytest.raises(ValueError, match=match):
            qlearn.conv2d(a, b, None, 1, 1, 1, 1, 0.5, 0)
    with pytest.raises(ValueError, match=r"bias must have shape \(4,\)"):
        qlearn.conv2d(X, W, np.zeros(3, np.float32), 1, 1, 1, 1, 0.5, 0)
    with pytest.raises(TypeError, match="x must be a QTensor"):
        qlearn.conv2d(x, W, None, 1, 1, 1, 1, 0.5, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weight must have zero point 0 on the engine onednn, got 3"):
        qlearn.conv2d(X, qw(w, 0.1, 3), None, 1, 1, 1, 1, 0.5, 0, machine=Machine("onednn", "AVX2", 1))


@pytest.mark.parametrize(
    ("into", "groups", "avx2", "avx512"),
    [
        *((4, 2, True, True), (4, 3, False, True), (4, 6, True, False), (4, 8, True, True), (2, 4, True, True)),
        *((2, 5, False, True), (2, 12, True, False), (2, 16, True, True), (8, 3, True, True), (1, 3, True, True)),
    ],
)
def test_shapes_that_corrupt_memory(into: int, groups: int, avx2: bool, avx512: bool) -> None:
    """FBGEMM writes outside its memory where groups do not fill its vectors; seen on either kind of CPU."""
    x = QTensor(np.zeros((1, into * groups, 4, 4), np.uint8), 0.1, 0, "quint8")
    w = QTensor(np.zeros((into * groups, into, 3, 3), np.int8), 0.1, 0, "qint8")
    for capability, vnni, fine in (("AVX2", False, avx2), ("AVX512", True, avx512)):
        machine = Machine("fbgemm", capability, 1, vnni)
        if fine:
            qlearn.conv2d(x, w, None, 1, 1, 1, groups, 0.5, 0, machine=machine)
        else:
            with pytest.raises(NotImplementedError, match=f"groups must be a multiple of .* got {groups}"):
                qlearn.conv2d(x, w, None, 1, 1, 1, groups, 0.5, 0, machine=machine)
        qlearn.conv2d(x, w, None, 1, 0, 1, groups, 0.5, 0, machine=machine)  # padding 0 has another kernel
        qlearn.conv2d(x, w, None, 1, 1, 1, groups, 0.5, 0, machine=Machine("qnnpack", capability, 1, vnni))


def test_depthwise_in_three_dimensions() -> None:
    """FBGEMM's kernel for 3 x 3 x 3 corrupts memory when it is given 5 x 3 x 3."""
    x = QTensor(np.zeros((1, 8, 5, 5, 5), np.uint8), 0.1, 0, "quint8")
    for kernel, fine in (((3, 3, 3), True), ((5, 3, 3), False), ((3, 5, 5), False), ((5, 5, 5), False)):
        w = QTensor(np.zeros((8, 1, *kernel), np.int8), 0.1, 0, "qint8")
        padding = tuple(k // 2 for k in kernel)
        if fine:
            qlearn.conv3d(x, w, None, 1, padding, 1, 8, 0.5, 0, machine=Machine("fbgemm", "AVX2", 1))
        else:
            with pytest.raises(NotImplementedError, match=r"weight must have kernel \(3, 3, 3\)"):
                qlearn.conv3d(x, w, None, 1, padding, 1, 8, 0.5, 0, machine=Machine("fbgemm", "AVX2", 1))


@pytest.mark.parametrize(
    ("x", "weight", "geometry", "match"),
    [
        ((1, 4, 5, 1), (2, 4, 3, 1), (1, 3, 1, 1), None),  # some windows see x
        ((1, 4, 5, 1), (2, 4, 1, 1), ([1, 3], [0, 2], 1, 1), "padding must leave a window that sees x"),
        ((1, 6, 9, 9), (12, 1, 3, 3), (1, 1, 1, 6), "groups must be 1 where one channel is convolved"),
        ((1, 6, 9, 9), (6, 1, 3, 3), (1, 1, 1, 6), None),  # depthwise has kernels of its own
        ((1, 9, 9, 1), (15, 3, 3, 1), ([1, 1], [1, 0], 1, 3), "groups must be 1, or channels a group multiples of 4"),
        ((1, 1, 9, 9), (8, 1, 3, 3), (1, 1, 1, 1), None),
        ((1, 1, 9, 9), (8, 1, 3, 3), ([1, 1], [3, 1], 1, 1), "padding must leave x in each window"),
        ((1, 1, 9, 3), (8, 1, 3, 3), ([1, 2], [1, 0], 1, 1), "stride must be 1 along the last dimension"),
        ((1, 1, 1, 9, 9), (8, 1, 3, 3, 3), (1, 1, 1, 1), "weight must have depth 1"),
        ((1, 16, 5, 5), (16, 1, 1, 3), (1, [1, 0], 1, 16), "padding must be 0 where the kernel is 1 long"),
        ((1, 16, 5, 5), (16, 1, 1, 3), (1, [1, 1], 1, 16), None),
        ((1, 8, 5, 5), (8, 1, 1, 3), (1, [1, 0], 1, 8), None),
        ((1, 16, 3, 5, 5), (16, 1, 1, 3, 3), (1, [1, 0, 0], 1, 16), "padding must be 0 where the kernel is 1 long"),
    ],
)
def test_shapes_that_onednn_gets_wrong(x: Any, weight: Any, geometry: Any, match: str | None) -> None:
    """With AVX-512 it crashes, uses what nobody wrote, or sums wrongly; without, and on other engines, all is well."""
    qx, qw = QTensor(np.ones(x, np.uint8), 0.1, 0, "quint8"), QTensor(np.ones(weight, np.int8), 0.1, 0, "qint8")
    operator = qlearn.conv2d if len(x) == 4 else qlearn.conv3d
    for engine in ("onednn", "x86"):
        with pytest.raises(NotImplementedError, match=match) if match else nullcontext():
            operator(qx, qw, None, *geometry, 0.5, 0, machine=Machine(engine, "AVX2", 1))
    for machine in (Machine("onednn", "AVX2", 1, vnni=False), Machine("fbgemm", "AVX512", 1)):
        operator(qx, qw, None, *geometry, 0.5, 0, machine=machine)


@pytest.mark.parametrize("engine", ["fbgemm", "x86"])
def test_small_groups_without_vnni(engine: str) -> None:
    """FBGEMM's kernel for them goes by the real CPU, so that it could be asked with AVX2 alone and with VNNI only."""
    for channels, groups, fine in ((8, 2, False), (4, 4, False), (4, 2, True), (16, 1, False), (3, 4, True)):
        x = QTensor(np.ones((1, channels * groups, 4, 4), np.uint8), 0.1, 0, "quint8")
        w = QTensor(np.ones((channels * groups, channels, 3, 3), np.int8), 0.1, 0, "qint8")
        with nullcontext() if fine else pytest.raises(NotImplementedError, match="AVX-512 and without VNNI"):
            qlearn.conv2d(x, w, None, 1, 1, 1, groups, 0.5, 0, machine=Machine(engine, "AVX512", 1, vnni=False))
        for vnni in (True, False):
            qlearn.conv2d(x, w, None, 1, 1, 1, groups, 0.5, 0, machine=Machine("fbgemm", "AVX2", 1, vnni))


def test_one_channel_without_vnni() -> None:
    """Which kernel oneDNN takes on AVX-512 without VNNI then depends on VBMI, which Machine does not know."""
    qx, qw = (
        QTensor(np.ones((1, 1, 9, 9), np.uint8), 0.1, 0, "quint8"),
        QTensor(np.ones((8, 1, 3, 3), int), 0.1, 0, "qint8"),
    )
    with pytest.raises(NotImplementedError, match="with AVX-512 and without VNNI"):
        qlearn.conv2d(qx, qw, None, 1, 1, 1, 1, 0.5, 0, machine=Machine("onednn", "AVX512", 1, vnni=False))
