"""requantization.py and accumulators.py: the integers of layers are qlearn's, at each accumulator that is reached."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from drawn_layers import KINDS, Layer, answer, draw_conv, draw_linear
from qlearn import Machine, QTensor
from qlearn.integers import Codes, Requantization, Unproven, convolution, linear
from qlearn.integers.accumulators import of_convolution, of_linear
from qlearn.layers.accumulate import saturation_loss
from qlearn.layers.conv import loss
from qlearn.layers.kernels import kernel_of
from qlearn.layers.linear import centered_weight, even_halves
from qlearn.layers.window_sums import accumulate
from qlearn.layers.windows import geometry

MACHINES = {
    "fbgemm": Machine("fbgemm", "AVX512", 1),
    "fbgemm, AVX2": Machine("fbgemm", "AVX2", 1, vnni=False),
    "fbgemm 2.13": Machine("fbgemm", "AVX2", 1, release="2.13"),
    "x86": Machine("x86", "AVX512", 1),
    "x86, AVX2": Machine("x86", "AVX2", 1, vnni=False),
    "onednn": Machine("onednn", "AVX512", 1),
    "onednn, AVX512": Machine("onednn", "AVX512", 1, vnni=False),
    "onednn, AVX2": Machine("onednn", "AVX2", 1, vnni=False),
    "onednn, AMX": Machine("onednn", "AVX512", 1, _used="AMX"),
    "onednn 2.0": Machine("onednn", "AVX2", 1, release="2.0"),
    "onednn 2.15": Machine("onednn", "AVX512", 1, release="2.15"),
    "qnnpack": Machine("qnnpack", "AVX512", 1),
}
each_machine = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
LARGEST = 2**12  # accumulators that are all looked at; of more, those around the thresholds


def integers_of(layer: Layer, machine: Machine, least: int = 0, most: int = 255) -> tuple[Requantization, Any]:
    """The integers of a layer's last step, and the accumulators of its own x, in int64."""
    x, weight = layer.tensors()
    codes, relu = Codes(layer.x_scale, layer.x_zero_point, least, most), layer.operator.endswith("relu")
    to = layer.scale, layer.zero_point, machine
    if not layer.geometry:
        rows = x.size // x.shape[-1]
        q, w = x.int_repr().reshape(1, rows, -1), weight.int_repr().T[None]
        acc = (q[0].astype(np.int64) - layer.x_zero_point) @ centered_weight(weight).T.astype(np.int64)
        found = linear(codes, weight, layer.bias, *to, rows=rows, relu=relu)
        if found.accumulators.pairs:
            halves = machine.engine == "onednn" and not machine.avx512
            acc = acc - saturation_loss(*((even_halves(q, 2), even_halves(w, 1)) if halves else (q, w)))[0]
        return found, acc.reshape(*x.shape[:-1], -1)
    g = geometry(x.ndim - 2, x.shape, weight.shape, *layer.geometry)
    found = convolution(codes, weight, layer.bias, g, *to, images=x.shape[0], relu=relu)
    lost = loss(x, weight, g, found.accumulators.pairs) if found.accumulators.pairs else None
    acc = accumulate(x, weight, g).astype(np.int64)
    return found, acc if lost is None else acc - lost


def some_accumulators(found: Requantization) -> Any:
    """(n, C): all that can be reached, or the ends, and some around each threshold."""
    low, high = found.steps.low, found.steps.high
    if (high - low).max() < LARGEST:
        return np.clip(low + np.arange((high - low).max() + 1)[:, None], low, high)
    grid = np.linspace(low, high, LARGEST // 4).astype(np.int64)
    codes = found.formula(grid).astype(np.int64)
    changes = np.where(np.diff(codes, axis=0) != 0, grid[1:], low)
    return np.clip(np.concatenate([grid, *(changes + near for near in range(-3, 3))]), low, high)


def same_as_qlearn(layer: Layer, machine: Machine) -> Requantization:
    found, acc = integers_of(layer, machine)
    assert (acc >= found.steps.low).all() and (acc <= found.steps.high).all(), (machine, layer)
    codes = answer(layer, machine).int_repr()
    codes = np.moveaxis(codes, 1, -1) if layer.geometry else codes
    assert np.array_equal(found.codes(acc), codes), (machine, layer)
    reached = some_accumulators(found)
    assert np.array_equal(found.codes(reached), found.formula(reached)), (machine, layer)
    return found


@each_machine
def test_linear_layers(machine: Machine, rng: np.random.Generator) -> None:
    for _ in range(4):
        shape = (int(rng.integers(1, 20)), int(rng.integers(1, 300)))
        symmetric = machine.engine == "onednn" or rng.random() < 0.6
        same_as_qlearn(draw_linear(rng, shape, int(rng.integers(1, 20)), bits=8, symmetric=symmetric), machine)


@each_machine
def test_convolutions(machine: Machine, rng: np.random.Generator) -> None:
    for kind in KINDS:
        symmetric = machine.engine == "onednn" or rng.random() < 0.6
        layer = draw_conv(rng, int(rng.integers(1, 4)), machine, bits=8, symmetric=symmetric, kind=kind, longest=8)
        try:
            same_as_qlearn(layer, machine)
        except NotImplementedError as error:  # AMX with the images of this layer
            assert "oneDNN with AMX" in str(error)


def drawn(rng: np.random.Generator, machine: Machine, kind: str, channels: int = 24) -> Requantization:
    """Channels of hard scales and biases: multipliers from 2**-14 to 2, over two million accumulators."""
    multiplier, x_scale, scale = 2.0 ** rng.uniform(-14, 1, channels), float(np.float32(rng.uniform(0.01, 0.1))), 0.07
    if kind != "any":
        multiplier, x_scale, scale = 2.0 ** rng.integers(-14, 2, channels), 2.0**-5, 2.0**-4
    if kind == "x_scale is scale":
        scale = x_scale
    w_scale = (multiplier * scale / x_scale).astype(np.float32).astype(np.float64)
    t = x_scale * w_scale
    steps = rng.normal(size=channels) * 40 * scale / t
    if kind == "large bias":
        steps = rng.choice([-1, 1], channels) * 2.0 ** rng.uniform(18, 24, channels)
    bias = (np.rint(steps) * t if kind == "bias on the grid" else steps * t).astype(np.float32)
    weight = QTensor(rng.integers(-128, 128, (channels, 64)), w_scale, np.zeros(channels, np.int64), "qint8", 0)
    z = int(rng.choice([0, 3, 128, 255]))
    return linear(Codes(x_scale, 11), weight, bias, scale, z, machine, relu=bool(rng.random() < 0.3))


@each_machine
@pytest.mark.parametrize("kind", ["any", "powers of two", "x_scale is scale", "bias on the grid", "large bias"])
def test_hard_channels(machine: Machine, kind: str, rng: np.random.Generator) -> None:
    found = drawn(rng, machine, kind)
    reached = some_accumulators(found)
    assert np.array_equal(found.codes(reached), found.formula(reached))
    least, most = found.steps.clip
    assert found.check() == len(found.steps) * 2 * (1 + most - least)


def test_what_is_reached_comes(rng: np.random.Generator) -> None:
    """Both ends of each channel come from inputs, with and without saturation, and no input goes beyond."""
    machines = MACHINES["fbgemm"], MACHINES["fbgemm, AVX2"], MACHINES["onednn, AVX2"]
    for machine in machines:
        weight = QTensor(rng.integers(-128, 128, (9, 301)), 0.1, 0, "qint8")
        x = Codes(0.1, 30, 3, 250)
        found = of_linear(machine, weight, x)
        low, high = found.reach()
        w = weight.int_repr()
        largest = np.where(w > 0, x.most, x.least)[None]  # (1, 9, 301): what gives channel m its largest sum
        for q, end in ((largest, high), (x.most + x.least - largest, low)):
            total = (q[0].astype(np.int64) - 30) @ w.T.astype(np.int64)
            if found.pairs:
                halves = machine.engine == "onednn"
                pair = even_halves(q, 2) if halves else q, even_halves(w.T[None], 1) if halves else w.T[None]
                total = total - saturation_loss(*pair)[0]
            assert np.array_equal(np.diag(total), end), machine


@pytest.mark.parametrize("pairs", ["", "taps", "channels", "taps inside"])
def test_padding_is_reached_too(pairs: str, rng: np.random.Generator) -> None:
    """Codes that do not have the zero point among them: a window that sees padding sums less."""
    where = (1, 2, 1, 1)
    for w_zero_point in (0,) if pairs in ("channels", "taps inside") else (0, 5):  # oneDNN takes 0 alone
        weight = QTensor(rng.integers(-128, 128, (6, 1, 3, 3)), 0.1, w_zero_point, "qint8")
        for least, most, z in ((200, 255, 10), (0, 60, 250), (0, 255, 128)):
            x = QTensor(rng.integers(least, most + 1, (40, 1, 4, 4)), 0.1, z, "quint8")
            g = geometry(2, x.shape, weight.shape, *where)
            low, high = of_convolution(weight, g, pairs, Codes(0.1, z, least, most)).reach()
            lost = loss(x, weight, g, pairs) if pairs else 0
            acc = accumulate(x, weight, g).astype(np.int64) - (0 if lost is None else lost)
            assert (acc >= low).all() and (acc <= high).all()


def test_few_codes_reach_few_accumulators(rng: np.random.Generator) -> None:
    """After a ReLU the codes begin at the zero point."""
    layer = draw_linear(rng, (3, 50), 5, bits=8, symmetric=True)._replace(x_zero_point=100)
    all_codes, _ = integers_of(layer, MACHINES["fbgemm"])
    after_relu, _ = integers_of(layer, MACHINES["fbgemm"], 100, 255)
    assert (after_relu.steps.high <= all_codes.steps.high).all() and (after_relu.steps.low > all_codes.steps.low).all()


def test_check_refuses_a_wrong_range_clip_and_line(rng: np.random.Generator) -> None:
    found = drawn(rng, MACHINES["fbgemm"], "any")
    while np.diff(found.codes(np.stack([found.steps.low, found.steps.high])), axis=0)[0, 3] < 50:
        found = drawn(rng, MACHINES["fbgemm"], "any")
    steps, formula = found.steps, found.formula
    assert found.check() > 0
    one = np.eye(1, len(steps), 3, dtype=np.int64)[0]
    wrong = {
        "channel 3 reaches low": replace(steps, low=steps.low + one),
        "channel 3 reaches high": replace(steps, high=steps.high - one),
        "codes reach from": replace(steps, clip=(steps.clip[0], 254)),
        "channel 3 ": replace(steps, S=steps.S ^ one),
    }
    for match, mutant in wrong.items():
        with pytest.raises(Unproven, match=match):
            replace(found, steps=mutant).check()
    with pytest.raises(Unproven, match="where float32 gives"):
        replace(found, formula=replace(formula, scale=formula.scale * 1.01)).check()


def test_what_does_not_rise_is_refused_by_name() -> None:
    weight = QTensor([[127] * 4, [1] * 4], 0.1, 0, "qint8")
    bias = np.array([0, 1], np.float32)

    def made(engine: str, scale: float, b: Any, x_scale: float = 0.1, n: int = 1) -> Requantization:
        w = QTensor(np.tile(weight.int_repr(), n), 0.1, 0, "qint8")
        return linear(Codes(x_scale, 0), w, b, scale, 3, Machine(engine, "AVX512", 1))

    for engine in ("fbgemm", "qnnpack", "onednn"):
        assert made(engine, 1.0, bias).check()
        with pytest.raises(NotImplementedError, match="bias must be finite"):
            made(engine, 1.0, np.array([0, np.inf], np.float32))
        with pytest.raises(NotImplementedError, match="x_scale must lie between"):
            made(engine, 1.0, bias, 1e-38)
        with pytest.raises(NotImplementedError, match=r"accumulators beyond int32, got \d+"):
            made(engine, 1.0, bias, n=20_000)
    with pytest.raises(NotImplementedError, match="the result must not leave int32"):
        made("fbgemm", 1e-10, bias)
    with pytest.raises(NotImplementedError, match="acc and bias together must not leave int32"):
        made("qnnpack", 1.0, bias * np.float32(1e8))
    assert made("onednn", 1e-10, bias).check()


def test_each_function_is_the_layers_own(rng: np.random.Generator) -> None:
    """Every order of steps is met by some machine."""
    met = {linear(Codes(0.1, 3), QTensor([[1] * 20], 0.1, 0, "qint8"), None, 0.3, 5, machine, rows=300).formula.steps
           for machine in MACHINES.values()}  # fmt: skip
    weight = QTensor(np.ones((8, 1, 3, 3), np.int8), 0.1, 0, "qint8")
    for machine in MACHINES.values():
        g = geometry(2, (1, 8, 6, 6), weight.shape, 1, 1, 1, 8)
        assert convolution(Codes(0.1, 3), weight, None, g, 0.3, 5, machine).formula.steps == (
            kernel_of(machine, weight, g).steps
        )
        met.add(kernel_of(machine, weight, g).steps)
    assert met >= {"fbgemm", "fbgemm_depthwise", "qnnpack", "onednn_vnni", "onednn_gemm", "onednn_avx2", "onednn_2"}
    assert "onednn_divided" in met
