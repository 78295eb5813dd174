"""linear.py: PyTorch's quantized linear layer, every integer, on each engine."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import live_layers
import qlearn
from drawn_layers import Layer, answer, draw_linear
from live_layers import ENGINES, machine_of, same_layers
from oracle import compare
from qlearn import Machine, QTensor
from recorded import Source, each
from strategies import bad_scales, outside

SHAPES = (
    (1, 1),
    (2, 7),
    (1, 64),
    (33, 65),
    (129, 30),
    (3, 4, 50),
    (2, 1, 3, 17),
    (5, 600),
    (4, 257),
    (4, 261),
    (4, 511),
)


def drawn_for(engine: str, bits: int, rng: np.random.Generator, times: int) -> list[Layer]:
    """Layers for every shape, so many times; onednn takes only weight zero points of 0."""
    return [
        draw_linear(rng, shape, int(rng.integers(1, 140)), bits=bits, symmetric=engine == "onednn" or i % 2 == 0)
        for i, shape in enumerate(SHAPES * times)
    ]


@pytest.mark.torch
@live_layers.each_engine
@live_layers.each_width
def test_as_pytorch(capability: str, engine: str, bits: int, rng: np.random.Generator) -> None:
    live_layers.need(engine)
    for threads in (1, 2):
        same_layers(drawn_for(engine, bits, rng, 2), engine, capability, threads)


@pytest.mark.torch
@live_layers.each_lesser_cpu
@live_layers.each_engine
@live_layers.each_width
def test_without_vnni(engine: str, bits: int, cpu: str, rng: np.random.Generator) -> None:
    """The kernels that a CPU without VNNI takes, which any CPU can be made to take."""
    live_layers.need(engine, cpu)
    same_layers(drawn_for(engine, bits, rng, 3), engine, cpu=cpu)


def layer(**changes: Any) -> Layer:
    """A small linear layer, with changes."""
    x, weight = np.arange(14, dtype=np.uint8).reshape(2, 7) * 18, np.arange(35, dtype=np.int8).reshape(5, 7) - 17
    bias = np.linspace(-1, 1, 5, dtype=np.float32)
    plain = Layer("linear", x, 0.05, 3, "contiguous", weight, 0.02, 0, bias, (), 0.5, 3)
    return plain._replace(**changes)


@pytest.mark.torch
@live_layers.each_engine
def test_extremes(engine: str) -> None:
    """Sums beyond 2**24 and beyond int32, products that int32 does not hold, infinite and NaN biases, nothing."""
    live_layers.need(engine)
    wide = np.full((2, 70000), 255, np.uint8)
    wide[1, ::2] = 0
    w = np.full((3, 70000), 127, np.int8)
    w[1, ::3] = -128
    drawn = [layer(x=wide[:, :k], weight=w[:, :k], bias=None, scale=k * 4.0) for k in (700, 4000, 70000)]
    for per_channel in (False, True):
        scales, zeros = (np.full(5, 0.02), np.zeros(5, np.int64)) if per_channel else (0.02, 0)
        one = layer(w_scale=scales, w_zero_point=zeros)
        drawn += [one._replace(scale=scale) for scale in (1e-12, 1e-20, 1e-35, 1e30)]
        drawn += [one._replace(x_scale=scale) for scale in (1e-30, 1e20, 1e30)]
        for v in (np.inf, -np.inf, np.nan, 1e30, -1e30, 3e9):
            biased = one._replace(bias=np.full(5, v, np.float32))
            drawn += [biased, biased._replace(operator="linear_relu")]
    drawn += [layer(x=np.zeros((0, 7), np.uint8)), layer(x=np.zeros((2, 0, 7), np.uint8))]
    drawn += [layer(x=np.zeros((7, 2), np.uint8) + 9, layout="transposed")]
    if engine != "qnnpack":  # it ends the process at the first of these, and refuses the others
        drawn += [layer(weight=np.zeros((0, 7), np.int8), bias=None)]
        drawn += [layer(scale=1e-40), layer(scale=1e38), layer(x_scale=1e-42), layer(x_scale=1e25, w_scale=1e25)]
    if engine == "onednn":
        drawn += [layer(x=np.arange(7, dtype=np.uint8))]
    for cpu in live_layers.cpus(engine):
        same_layers(drawn, engine, cpu=cpu)


@pytest.mark.torch
def test_both_refuse() -> None:
    """What qlearn refuses on one engine, PyTorch refuses there too."""
    refused = {
        "qnnpack": [layer(scale=1e-40), layer(scale=1e38), layer(x_scale=1e-42), layer(x_scale=1e25, w_scale=1e25)],
        "onednn": [layer(w_zero_point=3)],
        "fbgemm": [layer(x=np.arange(7, dtype=np.uint8)), layer(bias=np.zeros(4, np.float32))],
    }
    live_layers.both_refuse(refused, r"(scale|weight|x|bias) must")


@each("linear")
def test_recorded(source: Source) -> None:
    r = source.arrays
    outputs = [key for key in r if key.split("/")[0] in ENGINES]
    for key in outputs:
        engine, bits, name, i = key.split("/")
        x_scale, x_zero_point, w_scale, scale, zero_point = r["presets"][int(i)].tolist()
        weight = QTensor(r["weight"], w_scale, 0, "qint8")
        if name != "tensor":
            zeros = np.zeros(len(r["factors"]), np.int64)
            weight = QTensor(r["weight"], w_scale * r["factors"], zeros, "qint8", 0)
        x = QTensor(r[f"x/{bits}"], x_scale, int(x_zero_point), "quint8")
        f = qlearn.linear_relu if name == "relu" else qlearn.linear
        ours = f(x, weight, r[f"bias/{i}"], scale, int(zero_point), machine=source.machine(engine))
        compare("linear, recorded", ours.int_repr(), r[key], key)
    assert len(outputs) > 30


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["fbgemm", "onednn"])
def test_published_saturation(engine: str) -> None:
    """211 * 71 + 171 * 107 = 33,278 does not fit in 16 bits: without VNNI the sum is 32,767."""
    sums = {}
    for cpu in live_layers.cpus(engine):
        one = layer(x=np.array([[211, 171]], np.uint8), weight=np.array([[71, 107]], np.int8), bias=None)
        one = one._replace(x_scale=1.0, x_zero_point=0, w_scale=1.0, scale=511.0 / 2, zero_point=0)  # 130.2 or 128.3
        same_layers([one], engine, cpu=cpu)
        sums[cpu] = int(answer(one, machine_of(engine, cpu=cpu)).int_repr()[0, 0])
    assert sums.pop("") == (130 if live_layers.VNNI else 128) and set(sums.values()) <= {128}


def test_saturation_is_named_by_vnni() -> None:
    """255 * 127 + 255 * 127 is 64,770; a CPU without VNNI adds 32,767. qnnpack multiplies in 32 bits."""
    x, w = QTensor([[255, 255]], 1.0, 0, "quint8"), QTensor([[127, 127]], 1.0, 0, "qint8")
    found = {
        (engine, vnni): int(
            qlearn.linear(x, w, None, 512.0, 0, machine=Machine(engine, "AVX2", 1, vnni)).int_repr()[0, 0]
        )
        for engine in ENGINES
        for vnni in (True, False)
    }
    for engine in ENGINES:
        assert found[engine, True] == round(64770 / 512) == 127
        assert found[engine, False] == (127 if engine == "qnnpack" else 64)


def test_default_machine_needs_no_torch() -> None:
    one = layer()
    x, w = one.tensors()
    ours = qlearn.linear(x, w, one.bias, 0.5, 3)
    acc = (one.x.astype(int) - 3) @ one.weight.T.astype(int)
    exact = (acc * 0.05 * 0.02 + one.bias) / 0.5 + 3
    assert np.abs(ours.int_repr() - np.clip(exact, 0, 255)).max() <= 0.5 + 1e-6
    relu = qlearn.linear_relu(x, w, one.bias, 0.5, 3)
    assert np.array_equal(relu.int_repr(), np.maximum(ours.int_repr(), 3))


# Bad input is refused, by name

X, W = layer().tensors()


@given(bad_scales)
def test_bad_scale(scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        qlearn.linear(X, W, None, scale, 0)


@given(outside("quint8"))
def test_bad_zero_point(zero_point: int) -> None:
    with pytest.raises((ValueError, TypeError), match="zero_point must be"):
        qlearn.linear(X, W, None, 0.5, zero_point)


@given(st.one_of(st.none(), st.integers(), st.just(np.zeros(3))))
def test_no_qtensor(other: Any) -> None:
    with pytest.raises(TypeError, match="x must be a QTensor, got"):
        qlearn.linear(other, W, None, 0.5, 0)
    with pytest.raises(TypeError, match="weight must be a QTensor, got"):
        qlearn.linear(X, other, None, 0.5, 0)


def test_what_does_not_fit() -> None:
    x, w = X.int_repr(), W.int_repr()
    zeros7 = np.zeros(7, np.int64)
    for wrong, match in (
        ((QTensor(x.astype(np.int8) * 0, 0.1, 0, "qint8"), W), "x must be quint8, got qint8"),
        ((QTensor(x, [0.1] * 2, [0] * 2, "quint8", 0), W), "x must be quantized per tensor"),
        ((QTensor(x[0], 0.1, 0, "quint8"), W), "x must have at least 2 dimensions on the engine x86, got 1"),
        ((QTensor(x[:, :0], 0.1, 0, "quint8"), QTensor(w[:, :0], 0.1, 0, "qint8")), "x must have at least one feature"),
        ((QTensor(x[:, :6], 0.1, 0, "quint8"), W), r"weight must have shape \(M, 6\), .* got \(5, 7\)"),
        ((X, QTensor(w[0], 0.1, 0, "qint8")), r"weight must have shape \(M, 7\)"),
        ((X, QTensor(x, 0.1, 0, "quint8")), "weight must be qint8, got quint8"),
        ((X, QTensor(w, np.full(7, 0.1), zeros7, "qint8", 1)), "weight must be quantized along axis 0, got axis 1"),
    ):
        with pytest.raises(ValueError, match=match):
            qlearn.linear(*wrong, None, 0.5, 0)
    with pytest.raises(ValueError, match=r"bias must have shape \(5,\), .* got \(4,\)"):
        qlearn.linear(X, W, np.zeros(4, np.float32), 0.5, 0)
    with pytest.raises(TypeError, match="bias must be float32 or None, got float64"):
        qlearn.linear(X, W, np.zeros(5), 0.5, 0)
    with pytest.raises(ValueError, match="weight must have zero point 0 on the engine onednn, got 3"):
        qlearn.linear(X, QTensor(w, 0.1, 3, "qint8"), None, 0.5, 0, machine=Machine("onednn", "AVX2", 1))
    with pytest.raises(TypeError, match="machine must be a Machine or None"):
        qlearn.linear(X, W, None, 0.5, 0, machine="x86")  # type: ignore[arg-type]
