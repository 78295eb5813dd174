"""scalars.py: a quantized tensor and one real number, and ReLU, against PyTorch; each step is needed."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import drawing
import qlearn
from conformance import SIZES, SPLITS, assert_cases, assert_equal
from oracle import compare
from qlearn import Machine, QTensor
from qlearn.elementwise import scalars
from qlearn.machine.machine import ENGINES
from recorded import Source, each, two
from strategies import not_numbers

NAMES = ("add_scalar", "add_scalar_relu", "mul_scalar", "mul_scalar_relu", "relu")
CODES = np.arange(256, dtype=np.uint8)
X = QTensor(CODES.reshape(4, 64), 0.5, 3, "quint8")
f = np.float32


@pytest.mark.torch
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_live(dispatch: str, engine: str, name: str, rng: np.random.Generator) -> None:
    """Every layout, dtype, size, on one thread and more; small and large numbers, negative ones and zero."""
    draws: list[dict[str, Any]] = [
        {"n": int(rng.choice(np.array(SIZES))), "layout": layout, "dtype": dtype}
        for layout in drawing.LAYOUTS
        for dtype in ("quint8", "qint8", "qint32")
    ]
    draws += [{"n": int(rng.choice(np.array(SPLITS))), "threads": threads} for threads in (1, 2)]
    assert_equal(name, engine, dispatch, rng, draws)


def recorded(name: str, source: Source, i: int) -> Any:
    """qlearn's and PyTorch's codes of case i, with scale and zero point at their end."""
    r = source.arrays
    scale, zero_point, c = r["scalars"][i].tolist()
    out = getattr(qlearn, name)(QTensor(CODES, scale, int(zero_point), "quint8"), c, machine=source.machine())
    ours = [*out.int_repr().tolist(), out.q_scale(), out.q_zero_point()]
    return np.array(ours), np.concatenate([r[f"{name}/{i}"], r[f"{name}/{i}/about"]])


@pytest.mark.parametrize("name", ["add_scalar", "mul_scalar"])
@each("elementwise")
def test_recorded(source: Source, name: str) -> None:
    for i in range(len(source.arrays["scalars"])):
        compare(f"{name}, recorded", *recorded(name, source, i), i)


WRONG = [
    ("multiplier_of_scalar", lambda a, s: f(a) / f(s)),
    ("multiplier_of_scalar", lambda a, s: f(a / s)),
    ("requantize", lambda path, cap, c, m, z, dtype: np.clip(np.rint(c * m + f(z)), 0, 255).astype(np.uint8)),
    ("requantize", lambda path, cap, c, m, z, dtype: np.clip(np.floor(c * m + f(0.5)) + z, 0, 255).astype(np.uint8)),
    ("round", lambda x: int(np.rint(f(x)))),
    ("round", lambda x: int(np.floor(x + 0.5))),
    ("round", int),
]


@pytest.mark.parametrize("source", two("elementwise", "avx2"), ids=str)
@pytest.mark.parametrize(("step", "wrong"), WRONG)
def test_step_is_needed(source: Source, step: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's recorded answers tell each wrong step of add_scalar from the right one."""
    monkeypatch.setattr(scalars, step, wrong, raising=False)
    count = len(source.arrays["scalars"])
    assert any((np.not_equal(*recorded("add_scalar", source, i))).any() for i in range(count))


@pytest.mark.torch
@pytest.mark.parametrize("scale", [1.0, 0.3, 1e-3])
def test_qint32_out_of_range(dispatch: str, scale: float, rng: np.random.Generator) -> None:
    """Zero points and numbers that push qint32 codes out of int32: the body's sum wraps, the tail's is clamped."""
    asked = []
    for _ in range(40):
        codes = rng.integers(-(2**31), 2**31, 50).astype(np.int32)
        zero_point = int(rng.choice([2**31 - 1, -(2**31), int(rng.integers(-(2**31), 2**31))]))
        c = float(rng.uniform(-(2.0**32), 2.0**32) * scale)
        case = drawing.Case((drawing.Operand(codes, (50,), (1,), scale, zero_point),), (c,))
        asked += [(name, case) for name in ("add_scalar", "add_scalar_relu")]
    assert_cases("fbgemm", dispatch, asked)


def test_relu() -> None:
    assert qlearn.relu(X).int_repr().ravel().tolist() == [3, 3, 3, *range(3, 256)]


@pytest.mark.parametrize("shape", [(), (3, 0), (0, 0)])
def test_relu_of_qnnpack(shape: tuple[int, ...]) -> None:
    x = QTensor(np.zeros(shape, np.uint8), 0.5, 3, "quint8")
    with pytest.raises(ValueError, match="a must have dimensions, and none empty after the first, on qnnpack"):
        qlearn.relu(x, machine=Machine("qnnpack", "AVX2", 1))
    assert qlearn.relu(x).shape == shape


# Bad input is refused, by name


@given(not_numbers)
def test_c_that_is_no_number(c: Any) -> None:
    for name in NAMES[:4]:
        with pytest.raises(TypeError, match="c must be a real number, got"):
            getattr(qlearn, name)(X, c)


@given(st.sampled_from([np.nan, np.inf, -np.inf]))
def test_c_that_is_not_finite(c: float) -> None:
    for name in NAMES[:4]:
        with pytest.raises(ValueError, match="c must be finite, got"):
            getattr(qlearn, name)(X, c)


def test_c_out_of_reach() -> None:
    with pytest.raises(ValueError, match=r"c / a.q_scale\(\) must round to an int32, got 10000000000.0 / 0.5"):
        qlearn.add_scalar(X, 1e10)
    for c in (1e39, 1e-46):
        with pytest.raises(ValueError, match=r"abs\(c\) \* a.q_scale\(\) must be positive and finite as float32"):
            qlearn.mul_scalar(X, c)


def test_input_that_does_not_fit() -> None:
    channels = QTensor(np.zeros((2, 3), np.uint8), [0.5] * 3, [0] * 3, "quint8", 1)
    for name in NAMES:
        args = () if name == "relu" else (1.0,)
        with pytest.raises(TypeError, match="a must be a QTensor, got list"):
            getattr(qlearn, name)([1], *args)
        with pytest.raises(ValueError, match="a must be quantized per tensor, got per_channel_affine"):
            getattr(qlearn, name)(channels, *args)
    for name in NAMES[:4]:
        with pytest.raises(TypeError, match="machine must be a Machine or None, got str"):
            getattr(qlearn, name)(X, 1.0, machine="x86")
