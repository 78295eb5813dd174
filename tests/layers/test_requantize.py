"""requantize.py: each step of each engine is needed; the engines differ."""

import functools
import inspect
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import live_layers
from drawn_layers import Layer, draw_conv, draw_linear
from live_layers import differing, machine_of
from oracle import ask
from qlearn import Machine
from qlearn.layers import accumulate, conv, requantize

HALF_AWAY = "np.sign(y) * np.floor(np.abs(y) + np.float32(0.5))"
OTHER_PRODUCT = "if together:", "if not together:"
DIVISION = "if divided:", "if not divided:"
ADD_BIAS = "            y += bias"
MULTIPLY = "total *= t / np.float32(scale)"
ROUND = "whole = np.rint(y, out=y)"
ZERO_POINT_FIRST = ROUND, "whole = np.rint(y + np.float32(zero_point)) - np.float32(zero_point)"
ADD_THEN_ROUND = "    y += np.float32(zero_point)\n    codes = np.rint(y, out=y)"

# a function of requantize.py; a step of it or of its helpers, and a wrong form
MUTANTS = [
    ("fbgemm", "fma(bias, reciprocal(t), a) if", "a + bias / t if"),
    ("fbgemm", "fma(bias, reciprocal(t), a) if", "a + bias * reciprocal(t) if"),
    ("fbgemm", "else a + bias / t", "else fma(bias, reciprocal(t), a)"),
    ("fbgemm", "else a + bias / t", "else a + bias * reciprocal(t)"),
    ("fbgemm", MULTIPLY, "total = total * t / np.float32(scale)"),
    ("fbgemm", MULTIPLY, "total *= t * reciprocal(scale)"),
    ("fbgemm", MULTIPLY, "total = total.astype(float) * x_scale * w_scale / scale"),
    ("fbgemm", *ZERO_POINT_FIRST),
    ("fbgemm", ROUND, f"whole = {HALF_AWAY}"),
    ("fbgemm", "low = zero_point if relu else 0", "low = 0"),
    (
        "qnnpack",
        "(to_int32(acc) + b).astype(np.float32) * multiplier",
        "(acc + bias / (w_scale * x_scale)) * multiplier",
    ),
    ("qnnpack", "* np.float32(x_scale)) * reciprocal(scale)", "* np.float32(x_scale)) / np.float32(scale)"),
    ("qnnpack", "np.float32(x_scale)) * reciprocal(scale)", "(np.float32(x_scale) * reciprocal(scale)))"),
    ("qnnpack", *ZERO_POINT_FIRST),
    ("qnnpack", ROUND, f"whole = {HALF_AWAY}"),
    ("onednn_vnni", *OTHER_PRODUCT),
    ("onednn_vnni", ADD_BIAS, "            y = fma(_float32(acc) * _twice_inverted(x_scale), w, bias)"),
    ("onednn_vnni", "_twice_inverted(x_scale)", "np.float32(x_scale)"),
    ("onednn_avx2", *OTHER_PRODUCT),
    ("onednn_avx2", "_twice_inverted(x_scale) * w)", "np.float32(x_scale) * w)"),
    ("onednn_avx2", ADD_BIAS, "            y = fma(_float32(acc), _twice_inverted(x_scale) * w, bias)"),
    *(
        (function, right, wrong)
        for function in ("onednn_vnni", "onednn_avx2")
        for right, wrong in (
            DIVISION,
            ("*= reciprocal(_twice_inverted(scale))", "*= reciprocal(scale)"),
            (ADD_THEN_ROUND, "    pass\n    codes = (np.rint(y) + np.float32(zero_point))"),
            (ADD_THEN_ROUND, "    pass\n    codes = np.rint(y.astype(float) + zero_point).astype(np.float32)"),
            ("_twice_inverted(w_scale) if w_scale.ndim == 0", "w_scale.astype(np.float32) if w_scale.ndim == 0"),
            ("else reciprocal(reciprocal(w_scale))", "else _twice_inverted(w_scale)"),
            ("np.fmax(y, _row(0, y.shape[-1]), out=y) if relu else y", "y"),
        )
    ),
    ("onednn_gemm", *OTHER_PRODUCT),
    ("onednn_gemm", *DIVISION),
    ("onednn_reference", *OTHER_PRODUCT),
    ("onednn_reference", *DIVISION),
]
ASKED = {  # a function of requantize.py -> the engine that uses it, on which CPU
    "fbgemm": ("fbgemm", ""),
    "qnnpack": ("qnnpack", ""),
    "onednn_vnni": ("onednn", "" if live_layers.VNNI else "AVX512"),
    "onednn_avx2": ("onednn", "AVX2"),
    "onednn_gemm": ("onednn", "" if live_layers.VNNI else "AVX512"),
    "onednn_reference": ("onednn", "AVX2"),
}


def mutated(right: str, wrong: str) -> ModuleType:
    """The module requantize with a step replaced wherever it stands."""
    source = inspect.getsource(requantize)
    assert right in source, right
    module = ModuleType("mutated")
    exec(source.replace(right, wrong), module.__dict__)
    return module


def batch(function: str) -> list[Layer]:
    """The same layers each time: linear ones, or convolutions for which oneDNN has the kernel."""
    engine, cpu = ASKED[function]
    linear = function not in ("onednn_gemm", "onednn_reference")
    rng = np.random.default_rng(2 if linear else 6)
    if linear:
        symmetric = engine == "onednn"
        return [draw_linear(rng, (99, 2 + i % 9), 40, bits=7, symmetric=symmetric) for i in range(300)]
    n, kind = (3, "depthwise") if function == "onednn_gemm" else (2, "grouped")
    machine = machine_of(engine, cpu=cpu)
    drawn = [draw_conv(rng, n, machine, bits=7, symmetric=True, kind=kind) for _ in range(240 // n)]
    if function == "onednn_reference":
        return [layer for layer in drawn if layer.weight.shape[1] % 4]
    shape = [layer for layer in drawn if layer.weight.shape[0] == layer.geometry[3]]
    return [layer._replace(geometry=([1] * 3, [2] * 3, [2] * 3, layer.geometry[3])) for layer in shape]


@functools.cache
def pytorch(function: str) -> tuple[list[Layer], list[Any]]:
    """A batch, and PyTorch's answers."""
    engine, cpu = ASKED[function]
    drawn = batch(function)
    return drawn, ask("DEFAULT", live_layers.torch_answers, drawn, engine=engine, cpu=cpu)


def wrong_outputs(function: str) -> int:
    """How many integers of the batch differ from PyTorch's."""
    engine, cpu = ASKED[function]
    return differing(*pytorch(function), machine_of(engine, cpu=cpu))


@pytest.mark.torch
@pytest.mark.parametrize("function", ASKED)
def test_right_steps(function: str) -> None:
    live_layers.need(*ASKED[function])
    assert wrong_outputs(function) == 0


@pytest.mark.torch
@pytest.mark.parametrize(("function", "right", "wrong"), MUTANTS)
def test_step_is_needed(function: str, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's integers tell each wrong step from the right one."""
    live_layers.need(*ASKED[function])
    monkeypatch.setattr(requantize, function, getattr(mutated(right, wrong), function))
    if "w_scale.ndim" in right or "reciprocal(reciprocal" in right:
        monkeypatch.setattr(requantize, "onednn_linear_scale", mutated(right, wrong).onednn_linear_scale)
    assert wrong_outputs(function) > 0


SATURATING = [  # engine, CPU, dimensions and kind of the convolutions, how their products pair
    *(("fbgemm", "AVX2", 2, "any", "taps"), ("fbgemm", "AVX512", 2, "any", "taps")),
    *(("fbgemm", "", 2, "depthwise", "taps"), ("onednn", "AVX512", 3, "depthwise", "taps inside")),
    *(("onednn", "AVX2", 2, "any", "channels"), ("onednn", "AVX512", 2, "any", "channels")),
]


@pytest.mark.torch
@pytest.mark.parametrize(("engine", "cpu", "n", "kind", "pairs"), SATURATING)
def test_saturation_is_needed(
    engine: str, cpu: str, n: int, kind: str, pairs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact sums, another pairing and another padding differ from PyTorch where codes take all 8 bits."""
    live_layers.need(engine, cpu)
    rng = np.random.default_rng(5)
    machine = machine_of(engine, cpu=cpu)
    drawn = [draw_conv(rng, n, machine, bits=8, symmetric=True, kind=kind) for _ in range(20)]
    theirs = ask("DEFAULT", live_layers.torch_answers, drawn, engine=engine, cpu=cpu)
    assert differing(drawn, theirs, machine) == 0
    with monkeypatch.context() as patch:
        patch.setattr(conv, "saturation_loss", lambda x, w: accumulate.saturation_loss(x, w) * 0)
        assert differing(drawn, theirs, machine) > 0
    with monkeypatch.context() as patch:  # pairs shifted by one
        patch.setattr(conv, "saturation_loss", lambda x, w: accumulate.saturation_loss(x[..., 1:], w[:, 1:]))
        assert differing(drawn, theirs, machine) > 0
    right = conv.loss
    for other in {"taps", "taps inside", "channels"} - {pairs}:
        with monkeypatch.context() as patch:
            patch.setattr(conv, "loss", lambda x, weight, g, _, other=other: right(x, weight, g, other))
            assert differing(drawn, theirs, machine) > 0, other


def test_engines_differ() -> None:
    """One accumulator, four answers: each engine has its own steps."""
    rng = np.random.default_rng(0)
    acc = rng.integers(-3000, 3000, (4000, 8), dtype=np.int32)
    w_scale = np.array(0.0371)
    bias = (rng.integers(-300, 300, 8) * 0.0137 * 0.0371).astype(np.float32)
    functions = (requantize.fbgemm, requantize.qnnpack, requantize.onednn_vnni, requantize.onednn_avx2)
    found = [f(acc, bias, 0.0137, w_scale, 0.0137 * 0.0371 * 16, 75, relu=False) for f in functions]
    for i, a in enumerate(found):
        assert a.dtype == np.uint8
        for b in found[:i]:
            assert 0 < (a != b).mean() < 0.1
            assert np.abs(a.astype(int) - b).max() == 1
    for f in functions:
        relu = f(acc, bias, 0.0137, w_scale, 0.0137 * 0.0371 * 16, 75, relu=True)
        assert relu.min() >= 75
        assert (relu >= f(acc, bias, 0.0137, w_scale, 0.0137 * 0.0371 * 16, 75, relu=False)).all()


def test_products_that_int32_does_not_hold() -> None:
    """FBGEMM and QNNPACK give the lowest code for a product of 2**31, oneDNN the highest."""
    acc, zeros, one = np.array([[100, -100]], np.int32), np.zeros(2, np.float32), np.array(1.0)
    for f, expected in (
        (requantize.fbgemm, [0, 0]),
        (requantize.qnnpack, [0, 0]),
        (requantize.onednn_vnni, [255, 0]),
        (requantize.onednn_avx2, [255, 0]),
        (requantize.onednn_gemm, [255, 0]),
        (requantize.onednn_reference, [255, 0]),
    ):
        assert f(acc, zeros, 1.0, one, 1e-12, 7, relu=False).tolist() == [expected]


def test_qnnpack_refuses_subnormal_multipliers() -> None:
    acc, zeros = np.ones((1, 2), np.int32), np.zeros(2, np.float32)
    for w_scale in (np.array(1e-39), np.array([1.0, 1e-39])):
        with pytest.raises(ValueError, match="scale must give a normal"):
            requantize.qnnpack(acc, zeros, 1.0, w_scale, 1.0, 0, relu=False)
    assert Machine.default().engine == "x86"
