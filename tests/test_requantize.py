"""requantize.py: each step of each engine is needed; the engines differ."""

import inspect
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import layers
from layers import answer, machine_of
from oracle import ask
from qlearn import Machine, accumulate, conv, requantize

HALF_AWAY = "np.sign(y) * np.floor(np.abs(y) + np.float32(0.5))"
FACTORS = "_twice_inverted(x_scale)", "w_scale.astype(np.float32)"
ZERO_POINT_FIRST = (
    "np.clip(cvtps2dq(y), low - zero_point, 255 - zero_point) + zero_point",
    "np.clip(cvtps2dq(y + np.float32(zero_point)), low, 255)",
)
PRODUCT = " * ".join(FACTORS)

# engine, whether the layers are convolutions; a step of requantize.py, and a wrong form of it
MUTANTS = [
    ("fbgemm", "fma(bias, reciprocal(t), a) if", "a + bias / t if"),
    ("fbgemm", "fma(bias, reciprocal(t), a) if", "a + bias * reciprocal(t) if"),
    ("fbgemm", "else a + bias / t", "else fma(bias, reciprocal(t), a)"),
    ("fbgemm", "else a + bias / t", "else a + bias * reciprocal(t)"),
    ("fbgemm", "total * (t / np.float32(scale))", "total * t / np.float32(scale)"),
    ("fbgemm", "total * (t / np.float32(scale))", "total * (t * reciprocal(scale))"),
    ("fbgemm", "total * (t / np.float32(scale))", "total.astype(float) * x_scale * w_scale / scale"),
    ("fbgemm", *ZERO_POINT_FIRST),
    ("fbgemm", "cvtps2dq(y)", f"cvtps2dq({HALF_AWAY})"),
    ("fbgemm", "low = zero_point if relu else 0", "low = 0"),
    (
        "qnnpack",
        "(to_int32(acc) + b).astype(np.float32) * multiplier",
        "(acc + bias / (w_scale * x_scale)) * multiplier",
    ),
    ("qnnpack", "* np.float32(x_scale)) * reciprocal(scale)", "* np.float32(x_scale)) / np.float32(scale)"),
    ("qnnpack", "np.float32(x_scale)) * reciprocal(scale)", "(np.float32(x_scale) * reciprocal(scale)))"),
    ("qnnpack", *ZERO_POINT_FIRST),
    ("qnnpack", "cvtps2dq(y)", f"cvtps2dq({HALF_AWAY})"),
    ("onednn", f"* ({PRODUCT}) + bias", "* _twice_inverted(x_scale) * w_scale.astype(np.float32) + bias"),
    ("onednn", f"* ({PRODUCT}) + bias", "* (np.float32(x_scale) * w_scale.astype(np.float32)) + bias"),
    (
        "onednn",
        f"acc.astype(np.float32) * ({PRODUCT}) + bias",
        f"fma(acc.astype(np.float32), {PRODUCT}, bias)",
    ),
    ("onednn", "* reciprocal(_twice_inverted(scale))", "/ _twice_inverted(scale)"),
    ("onednn", "* reciprocal(_twice_inverted(scale))", "* reciprocal(scale)"),
    ("onednn", "add_then_round(y, zero_point)", "np.rint(y) + zero_point"),
    ("onednn", "add_then_round(y, zero_point)", "np.rint(y.astype(float) + zero_point)"),
    ("onednn", "_twice_inverted(w_scale) if w_scale.ndim == 0", "w_scale.astype(np.float32) if w_scale.ndim == 0"),
    ("onednn", "else reciprocal(reciprocal(w_scale))", "else _twice_inverted(w_scale)"),
    ("onednn", "np.fmax(y, np.float32(0)) if relu else y", "y"),
    ("grouped", "/ _twice_inverted(scale)", "* reciprocal(_twice_inverted(scale))"),
    (
        "grouped",
        "(acc.astype(np.float32) * _twice_inverted(x_scale)) * w_scale",
        f"acc.astype(np.float32) * ({PRODUCT})",
    ),
]


def mutated(right: str, wrong: str) -> ModuleType:
    """The module requantize with a step replaced wherever it stands."""
    source = inspect.getsource(requantize)
    assert right in source, right
    module = ModuleType("mutated")
    exec(source.replace(right, wrong), module.__dict__)
    return module


def batch(kind: str) -> list[layers.Layer]:
    """The same layers each time: linear ones, or convolutions in groups for which oneDNN has no kernel."""
    rng = np.random.default_rng(5)
    if kind == "grouped":
        drawn = [layers.conv(rng, 2, bits=7, symmetric=True, kind="grouped") for _ in range(60)]
        return [layer for layer in drawn if layer.weight.shape[1] % 4]
    return [layers.linear(rng, (99, 2 + i % 9), 40, bits=7, symmetric=kind == "onednn") for i in range(300)]


@pytest.fixture(scope="module")
def pytorch() -> dict[str, Any]:
    """PyTorch's answers to each batch, and the batch."""
    kinds = ("fbgemm", "qnnpack", "onednn", "grouped")
    found = {}
    for kind in kinds:
        drawn = batch(kind)
        engine = "onednn" if kind == "grouped" else kind
        found[kind] = drawn, [codes for codes, _ in ask("DEFAULT", layers.torch_answers, drawn, engine=engine)]
    return found


def differing(kind: str, pytorch: dict[str, Any]) -> int:
    """How many integers of the batch differ from PyTorch's."""
    machine = machine_of("onednn" if kind == "grouped" else kind, "DEFAULT")
    pairs = zip(*pytorch[kind], strict=True)
    return sum(int((answer(layer, machine).int_repr() != codes).sum()) for layer, codes in pairs)


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["fbgemm", "qnnpack", "onednn", "grouped"])
def test_right_steps(kind: str, pytorch: dict[str, Any]) -> None:
    if kind in ("onednn", "grouped") and not layers.known("onednn"):
        pytest.skip("oneDNN's kernels for AVX-512 without VNNI are not modelled")
    assert differing(kind, pytorch) == 0


@pytest.mark.torch
@pytest.mark.parametrize(("kind", "right", "wrong"), MUTANTS)
def test_step_is_needed(
    kind: str, right: str, wrong: str, pytorch: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's integers tell each wrong step from the right one."""
    if kind in ("onednn", "grouped") and "avx512f" in layers.cpu_flags():
        pytest.skip("these are the steps of oneDNN's kernels for AVX2")
    wrong_module = mutated(right, wrong)
    for name in requantize.__all__:
        monkeypatch.setattr(requantize, name, getattr(wrong_module, name))
    assert differing(kind, pytorch) > 0


@pytest.mark.torch
@pytest.mark.skipif(layers.VNNI, reason="this CPU does not saturate")
@pytest.mark.parametrize("engine", ["fbgemm", "onednn"])
def test_saturation_is_needed(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact sums, another pairing and another padding differ from PyTorch where codes take all 8 bits."""
    if not layers.known(engine):
        pytest.skip("oneDNN's kernels for AVX-512 without VNNI are not modelled")
    rng = np.random.default_rng(5)
    drawn = [layers.conv(rng, 2, bits=8, symmetric=True) for _ in range(20)]
    theirs = [codes for codes, _ in ask("DEFAULT", layers.torch_answers, drawn, engine=engine)]

    def wrong() -> int:
        ours = [answer(layer, machine_of(engine, "DEFAULT")).int_repr() for layer in drawn]
        return sum(int((a != b).sum()) for a, b in zip(ours, theirs, strict=True))

    assert wrong() == 0
    with monkeypatch.context() as patch:
        patch.setattr(conv, "saturation_loss", lambda x, w: accumulate.saturation_loss(x, w) * 0)
        assert wrong() > 0
    with monkeypatch.context() as patch:  # pairs shifted by one
        patch.setattr(conv, "saturation_loss", lambda x, w: accumulate.saturation_loss(x[..., 1:], w[:, 1:]))
        assert wrong() > 0
    with monkeypatch.context() as patch:  # fbgemm's padding and pairs for onednn, and the other way round
        other = {"fbgemm": "channels", "onednn": "taps"}[engine]
        right = conv.loss
        patch.setattr(conv, "loss", lambda x, weight, g, pairs: right(x, weight, g, other))
        assert wrong() > 0


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
        (requantize.onednn_reference, [255, 0]),
    ):
        assert f(acc, zeros, 1.0, one, 1e-12, 7, relu=False).tolist() == [expected]


def test_qnnpack_refuses_subnormal_multipliers() -> None:
    acc, zeros = np.ones((1, 2), np.int32), np.zeros(2, np.float32)
    for w_scale in (np.array(1e-39), np.array([1.0, 1e-39])):
        with pytest.raises(ValueError, match="scale must give a normal"):
            requantize.qnnpack(acc, zeros, 1.0, w_scale, 1.0, 0, relu=False)
    assert Machine.default().engine == "x86"
