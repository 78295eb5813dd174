"""prelu.py: PyTorch's integers for a slope for each channel; each step is needed."""

from importlib import import_module
from typing import Any

import numpy as np
import pytest

import drawing
import qlearn
from conformance import SIZES, SPLITS, assert_equal
from oracle import compare
from qlearn import QTensor
from qlearn.codes.affine import DTYPES
from qlearn.machine.machine import ENGINES
from recorded import Source, each, two

prelu = import_module("qlearn.elementwise.prelu")  # qlearn.prelu is the function
X = QTensor(np.arange(256, dtype=np.uint8).reshape(4, 64), 0.05, 3, "quint8")
SLOPE = QTensor([25], 0.01, 0, "quint8")
f = np.float32


@pytest.mark.torch
@pytest.mark.parametrize("engine", ENGINES)
def test_live(dispatch: str, engine: str, rng: np.random.Generator) -> None:
    """Every layout and dtype, one slope and one for each channel, on one thread and more."""
    draws: list[dict[str, Any]] = [
        {"n": int(rng.choice(np.array(SIZES))), "layout": layout, "dtype": dtype}
        for layout in drawing.LAYOUTS
        for dtype in ("quint8", "qint8", "qint32")
    ]
    draws += [{"n": int(rng.choice(np.array(SPLITS))), "threads": threads} for threads in (1, 2)]
    assert_equal("prelu", engine, dispatch, rng, draws)


def recorded(source: Source, i: int, path: str) -> tuple[Any, Any]:
    """qlearn's and PyTorch's codes of case i."""
    r = source.arrays
    kind, s, z, w, ws, wz, scale, zero_point = r["cases/prelu"][i].tolist()
    dtype = ("quint8", "qint8", "qint32")[int(kind)]
    codes = r["qint32"] if dtype == "qint32" else np.arange(256, dtype=np.uint8).view(DTYPES[dtype])
    weight = QTensor(np.array([w], DTYPES[dtype]), ws, int(wz), dtype)
    short = codes.size if path == "body" else 15 if dtype == "qint32" else 63
    parts = [QTensor(codes[k : k + short], s, int(z), dtype) for k in range(0, codes.size, short)]
    ours = [qlearn.prelu(part, weight, scale, int(zero_point), machine=source.machine()).int_repr() for part in parts]
    return np.concatenate(ours), r[f"prelu/{i}/{path}"]


@each("activations")
def test_recorded(source: Source) -> None:
    for i in range(3):
        for path in ("body", "tail"):
            compare("prelu, recorded", *recorded(source, i, path), f"{i} {path}")


WRONG = [
    ("sloped", lambda q, z, w, zw, one: np.where(q > z, q.astype(int) - z, (q.astype(int) - z) * (w.astype(int) - zw))),
    ("sloped", lambda q, z, w, zw, one: (q.astype(np.int32) - z) * (w.astype(np.int32) - zw)),
    ("multiplier_of_product", lambda a, b, s: f(a * b / s)),
    ("code_of", lambda real, x, machine: np.floor(1 / x.q_scale()) + x.q_zero_point()),
    ("requantize", lambda path, cap, c, m, z, dtype: np.clip(np.rint(c * m + z), -128, 255).astype(DTYPES[dtype])),
]


@pytest.mark.parametrize("source", two("activations", "avx2"), ids=str)
@pytest.mark.parametrize(("step", "wrong"), WRONG)
def test_step_is_needed(source: Source, step: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's recorded answers tell each wrong step from the right one."""
    monkeypatch.setattr(prelu, step, wrong, raising=True)
    assert any((np.not_equal(*recorded(source, i, "body"))).any() for i in range(3))


def test_input_that_does_not_fit() -> None:
    channels = QTensor(np.zeros((2, 3), np.uint8), [0.5] * 3, [0] * 3, "quint8", 1)
    with pytest.raises(TypeError, match="x must be a QTensor, got list"):
        qlearn.prelu([1], SLOPE, 0.1, 3)
    with pytest.raises(TypeError, match="weight must be a QTensor, got float"):
        qlearn.prelu(X, 0.25, 0.1, 3)
    with pytest.raises(ValueError, match="x must be quantized per tensor, got per_channel_affine"):
        qlearn.prelu(channels, SLOPE, 0.1, 3)
    with pytest.raises(ValueError, match="weight must have the dtype of x, quint8, got qint8"):
        qlearn.prelu(X, QTensor(np.int8([1]), 0.1, 0, "qint8"), 0.1, 3)
    with pytest.raises(ValueError, match="x must have at least one dimension"):
        qlearn.prelu(QTensor(np.uint8(1), 0.1, 0, "quint8"), SLOPE, 0.1, 3)
    for shape in ((3,), (1, 1), ()):
        with pytest.raises(ValueError, match=r"weight must have shape \(1,\) or \(64,\), got"):
            qlearn.prelu(X, QTensor(np.zeros(shape, np.uint8), 0.1, 0, "quint8"), 0.1, 3)
    with pytest.raises(ValueError, match="scale must be positive"):
        qlearn.prelu(X, SLOPE, 0.0, 3)
    with pytest.raises(ValueError, match=r"zero_point must be in \[0, 255\]"):
        qlearn.prelu(X, SLOPE, 0.1, 256)
    with pytest.raises(TypeError, match="machine must be a Machine or None, got str"):
        qlearn.prelu(X, SLOPE, 0.1, 3, machine="x86")
