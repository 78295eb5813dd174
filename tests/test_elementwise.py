"""elementwise.py: PyTorch's add, every integer, in bodies and tails; the question's numbers."""

from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import ask, compare
from strategies import EXTREME, SIZES, TIE_RICH, arranged, bad_scales, outside, random_codes, zero_points

import qlearn
from qlearn import Machine, QTensor, elementwise, recordings, rounding

PRESETS = (
    ((0.05, 128), (0.05, 128), (0.1, 128)),
    ((0.037, 90), (0.0185, 30), (0.074, 100)),
    ((0.009925744496285915, 75), (0.02780967578291893, 61), (0.03012925386428833, 56)),
)
EVERY_PAIR = [np.arange(256, dtype=np.uint8).repeat(256), np.tile(np.arange(256, dtype=np.uint8), 256)]
SHAPES = ((), (0,), (1,), (63,), (5, 13), (2, 3, 5, 7), (3, 1, 33, 5), (2, 40, 30, 30), (4, 5, 1, 1), (2, 3, 4, 5, 6))


def test_the_question() -> None:
    """The 18 integers that the question printed; they lie in vector bodies of a tensor of 50,176 elements."""
    q = recordings.load("elementwise")
    (s1, z1), (s2, z2), (s, z) = PRESETS[2]
    codes = [np.resize(q[f"avx2/question/{name}"], 64) for name in ("x1", "x2")]
    for capability in ("DEFAULT", "AVX2", "AVX512"):
        for n in (64, 18):  # all in the body, all in the tail
            x1, x2 = QTensor(codes[0][:n], s1, z1, "quint8"), QTensor(codes[1][:n], s2, z2, "quint8")
            out = qlearn.add(x1, x2, s, z, machine=Machine("fbgemm", capability, 1))
            assert out.int_repr()[:18].tolist() == q["avx2/question/printed"].tolist()
    assert (q["avx2/question/x1"].astype(int) + q["avx2/question/x2"]).tolist()[:3] == [135, 125, 121]


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["fbgemm", "x86", "onednn"])
def test_every_pair(capability: str, engine: str, rng: np.random.Generator) -> None:
    """All 65,536 pairs, for tie-rich, related, extreme and random parameters, quint8 and qint8."""
    drawn = [[(float(rng.choice([*TIE_RICH, *EXTREME, rng.uniform(1e-3, 1)])), zero_points(rng, "quint8"))
              for _ in "abo"] for _ in range(4)]  # fmt: skip
    for preset in (*PRESETS, *drawn):
        for dtype in ("quint8", "qint8"):
            shift = 0 if dtype == "quint8" else 128
            same_sum(capability, engine, 1, EVERY_PAIR, preset, dtype, shift, "contiguous")


@pytest.mark.torch
def test_sizes_and_threads(capability: str, rng: np.random.Generator) -> None:
    for i, n in enumerate((*SIZES, 100_001, 163_845)):
        for threads in (1, 2, 3, 5):
            codes = [random_codes(rng, n, "quint8") for _ in "ab"]
            same_sum(capability, "fbgemm", threads, codes, PRESETS[i % 2], "quint8", 0, "contiguous")


@pytest.mark.torch
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_and_channels_last(capability: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    for layout in ("contiguous", "channels_last")[: 1 + (len(shape) >= 4)]:
        codes = [random_codes(rng, shape, "quint8") for _ in "ab"]
        same_sum(capability, "x86", 2, codes, PRESETS[0], "quint8", 0, layout)


def same_sum(
    capability: str, engine: str, threads: int, codes: Any, preset: Any, dtype: str, shift: int, layout: str
) -> None:
    (sa, za), (sb, zb), (so, zo) = [(scale, zero_point - shift) for scale, zero_point in preset]
    a, b = codes if dtype == "quint8" else [(q.astype(np.int16) - 128).astype(np.int8) for q in codes]
    theirs, strides = ask(
        capability, oracle.add, (a, sa, za), (b, sb, zb, so, zo), layout, engine=engine, threads=threads
    )
    qa, qb = (QTensor(arranged(q, layout), s, z, dtype) for q, s, z in ((a, sa, za), (b, sb, zb)))
    ours = qlearn.add(qa, qb, so, zo, machine=Machine(engine, capability, threads))
    compare("add", ours.int_repr(), theirs, (capability, engine, threads, preset, dtype, a.shape, layout))
    assert ours.size == 0 or ours.strides == strides
    assert (ours.q_scale(), ours.q_zero_point(), ours.dtype) == (so, zo, dtype)


# Each step is needed


def table(capability: str, path: str, preset: int) -> Any:
    """qlearn's sums of every pair, computed in bodies, or in tails of 63."""
    (sa, za), (sb, zb), (so, zo) = PRESETS[preset]
    step = 65536 if path == "body" else 63
    parts = []
    for i in range(0, 65536, step):
        a = QTensor(EVERY_PAIR[0][i : i + step], sa, za, "quint8")
        b = QTensor(EVERY_PAIR[1][i : i + step], sb, zb, "quint8")
        parts.append(qlearn.add(a, b, so, zo, machine=Machine("fbgemm", capability.upper(), 1)).int_repr())
    return np.concatenate(parts).reshape(256, 256)


def mutants() -> list[tuple[str, str, str, Any]]:
    """capability, path, the step, and a wrong form of it."""
    sub, fused = elementwise.dequantize_subtract, elementwise.dequantize_fused
    after, before = elementwise.quantize_round_then_add, elementwise.quantize_add_then_round
    f = np.float32

    def divide(x: Any, r: Any, z: int) -> Any:
        return np.rint(x / f(0.1 if r == rounding.reciprocal(0.1) else 0.074)) + z

    def double(x: Any, r: Any, z: int) -> Any:
        return np.rint(x.astype(np.float64) * (1 / (0.1 if r == rounding.reciprocal(0.1) else 0.074)) + z)

    def away(x: Any, r: Any, z: int) -> Any:
        y = x * r
        return np.sign(y) * np.floor(np.abs(y) + f(0.5)) + z

    return [
        ("avx2", "body", "dequantize_fused", sub),
        ("avx2", "body", "quantize_round_then_add", before),
        ("avx2", "body", "quantize_round_then_add", rounding.fma_then_round),
        ("avx2", "body", "quantize_round_then_add", divide),
        ("avx2", "body", "quantize_round_then_add", double),
        ("avx2", "body", "quantize_round_then_add", away),
        ("avx2", "tail", "dequantize_subtract", fused),
        ("avx2", "tail", "quantize_add_then_round", after),
        ("avx2", "tail", "quantize_add_then_round", rounding.fma_then_round),
        ("avx2", "tail", "quantize_add_then_round", double),
        ("default", "body", "dequantize_subtract", fused),
        ("default", "body", "fma_then_round", before),
        ("default", "body", "fma_then_round", after),
        ("default", "body", "fma_then_round", double),
    ]


@pytest.mark.parametrize(("capability", "path", "step", "wrong"), mutants())
def test_step_is_needed(capability: str, path: str, step: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's recorded tables tell each wrong step from the right one."""
    monkeypatch.setattr(elementwise, step, wrong)
    arrays = recordings.load("elementwise")
    assert any((table(capability, path, i) != arrays[f"{capability}/add/{i}/{path}"]).any() for i in (0, 1))


# Bad input is refused, by name

X = QTensor(np.zeros((2, 3, 4, 5), np.uint8), 0.5, 3, "quint8")


@given(bad_scales)
def test_bad_scale(scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        qlearn.add(X, X, scale, 0)


@given(outside("quint8"))
def test_zero_point_outside_dtype(zero_point: int) -> None:
    with pytest.raises((ValueError, TypeError), match="zero_point must be"):
        qlearn.add(X, X, 0.5, zero_point)


@given(st.one_of(st.none(), st.integers(), st.just(np.zeros(3))))
def test_input_that_is_no_qtensor(other: Any) -> None:
    with pytest.raises(TypeError, match="b must be a QTensor, got"):
        qlearn.add(X, other, 0.5, 0)
    with pytest.raises(TypeError, match="a must be a QTensor, got"):
        qlearn.add(other, X, 0.5, 0)


def test_inputs_that_do_not_fit() -> None:
    like = X.int_repr()
    with pytest.raises(ValueError, match="same dtype, got quint8 and qint8"):
        qlearn.add(X, QTensor(like, 0.5, 3, "qint8"), 0.5, 0)
    with pytest.raises(ValueError, match=r"same shape, got \(2, 3, 4, 5\) and \(2, 3, 4\)"):
        qlearn.add(X, QTensor(like[..., 0], 0.5, 3, "quint8"), 0.5, 0)
    with pytest.raises(ValueError, match="b must be quantized per tensor, got per_channel_affine"):
        qlearn.add(X, QTensor(like, [0.5] * 3, [0] * 3, "quint8", 1), 0.5, 0)
    with pytest.raises(TypeError, match="machine must be a Machine or None, got str"):
        qlearn.add(X, X, 0.5, 0, machine="x86")  # type: ignore[arg-type]


def test_what_is_not_there_yet() -> None:
    with pytest.raises(NotImplementedError, match="engine 'qnnpack'"):
        qlearn.add(X, X, 0.5, 0, machine=Machine("qnnpack", "AVX2", 1))
    with pytest.raises(NotImplementedError, match="a must be quint8 or qint8, got qint32"):
        q = QTensor([1], 0.5, 0, "qint32")
        qlearn.add(q, q, 0.5, 0)
    for layout in ("sliced", "transposed", "channels_last"):
        y = QTensor(arranged(np.zeros((5, 3, 4, 5), np.uint8), layout), 0.5, 3, "quint8")
        x = QTensor(np.zeros(y.shape, np.uint8), 0.5, 3, "quint8")
        with pytest.raises(NotImplementedError, match="both be contiguous or both channels_last"):
            qlearn.add(x, y, 0.5, 0)
