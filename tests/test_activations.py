"""activations.py: PyTorch's activations of a quantized tensor, every integer, wherever it lies; each step is needed."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given

import qlearn
from conformance import SIZES, SPLITS, assert_equal, operators
from oracle import ask, compare
from qlearn import Machine, QTensor
from qlearn.machine import ENGINES
from strategies import EXTREME, not_numbers

NAMES = ("relu6", "clamp", "hardswish", "hardsigmoid", "leaky_relu")
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "relu6": (),
    "clamp": (-1.0, 1.0),
    "hardtanh": (),
    "hardswish": (0.1, 3),
    "hardsigmoid": (),
    "leaky_relu": (0.1, 0.1, 3),
}
CODES = np.arange(256, dtype=np.uint8)
X = QTensor(CODES.reshape(4, 64), 0.05, 3, "quint8")
QNNPACK = Machine("qnnpack", "AVX2", 1)


@pytest.mark.torch
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_live(dispatch: str, engine: str, name: str, rng: np.random.Generator) -> None:
    """Every layout, dtype, size, on one thread and more."""
    draws: list[dict[str, Any]] = [
        {"n": int(rng.choice(np.array(SIZES))), "layout": layout, "dtype": dtype}
        for layout in operators.LAYOUTS
        for dtype in ("quint8", "qint8", "qint32")
    ]
    draws += [{"n": int(rng.choice(np.array(SPLITS))), "threads": threads} for threads in (1, 2)]
    assert_equal(name, engine, dispatch, rng, draws)


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
@pytest.mark.parametrize("name", NAMES)
def test_extreme_scales(dispatch: str, engine: str, name: str, rng: np.random.Generator) -> None:
    """Scales that overflow, or whose inverse does: infinities and NaN on every path."""
    for dtype in ("quint8", "qint8", "qint32"):
        for scale in EXTREME:
            for zero_point in (0, 3, 100):
                codes = operators.codes(rng, 100, dtype)
                operand = operators.Operand(codes, (100,), (1,), scale, zero_point)
                args = tuple(float(rng.choice(EXTREME)) if a == 0.1 else a for a in ARGUMENTS[name])
                n, differing, words = ask(
                    dispatch, both, name, operators.Case((operand,), args), Machine(engine, dispatch, 1),
                    engine=engine, elementwise=True,
                )  # fmt: skip
                compare(name, np.full(n, differing), np.zeros(n, int), words)


def both(name: str, case: Any, machine: Machine) -> tuple[int, int, str]:
    """operators.compare in PyTorch's process."""
    return operators.compare(operators.OPERATORS[name], case, machine)


def test_clamp_of_qnnpack_in_channels_last() -> None:
    """It writes the elements in the order of their memory to a contiguous tensor: they change their places."""
    codes = np.moveaxis(np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3), -1, 1)  # channels_last
    out = qlearn.clamp(QTensor(codes, 1.0, 0, "quint8"), 0.0, 100.0, machine=QNNPACK)
    assert out.int_repr().ravel().tolist() == list(range(24)) and out.strides == (24, 8, 4, 1)
    kept = qlearn.clamp(QTensor(codes, 1.0, 0, "quint8"), 0.0, 100.0)
    assert np.array_equal(kept.int_repr(), codes) and kept.strides == (24, 1, 12, 3)


# Bad input is refused, by name


def test_input_that_does_not_fit() -> None:
    channels = QTensor(np.zeros((2, 3), np.uint8), [0.5] * 3, [0] * 3, "quint8", 1)
    for name, args in ARGUMENTS.items():
        call = getattr(qlearn, name)
        with pytest.raises(TypeError, match="x must be a QTensor, got list"):
            call([1], *args)
        with pytest.raises(ValueError, match="x must be quantized per tensor, got per_channel_affine"):
            call(channels, *args)
        with pytest.raises(TypeError, match="machine must be a Machine or None, got str"):
            call(X, *args, machine="x86")


def test_result_that_does_not_fit() -> None:
    for name in ("hardswish", "leaky_relu"):
        first = (0.1,) if name == "leaky_relu" else ()
        call = getattr(qlearn, name)
        for scale in (0.0, -1.0, np.nan, np.inf, 1e39, 1e-46):
            with pytest.raises(ValueError, match="scale must be positive and finite as float32"):
                call(X, *first, scale, 3)
        for zero_point in (-1, 256):
            with pytest.raises(ValueError, match=r"zero_point must be in \[0, 255\] for quint8"):
                call(X, *first, 0.1, zero_point)
    with pytest.raises(ValueError, match=r"scale and zero_point must both be given or both be None, got 0.1 and None"):
        qlearn.leaky_relu(X, 0.1, 0.1)


@given(not_numbers)
def test_numbers_that_are_none(number: Any) -> None:
    if number is not None:
        with pytest.raises(TypeError, match="min must be a real number"):
            qlearn.clamp(X, number, 1.0)
        with pytest.raises(TypeError, match="max must be a real number"):
            qlearn.clamp(X, 1.0, number)
    with pytest.raises(TypeError, match="negative_slope must be a real number"):
        qlearn.leaky_relu(X, number)


def test_bounds_and_slopes_out_of_reach() -> None:
    for number in (np.nan, 1e39, -1e39):
        with pytest.raises(ValueError, match="min must be a number within float32"):
            qlearn.clamp(X, number, 1.0)
    for number in (np.nan, 1e39, np.inf):
        with pytest.raises(ValueError, match="negative_slope must be"):
            qlearn.leaky_relu(X, number)
    with pytest.raises(ValueError, match="min and max must not both be None"):
        qlearn.clamp(X)


def test_what_qnnpack_refuses() -> None:
    with pytest.raises(ValueError, match=r"min and max must both be given on qnnpack, got 0.0 and None"):
        qlearn.clamp(X, 0.0, machine=QNNPACK)
    with pytest.raises(ValueError, match="min must not have a larger code than max on qnnpack, got codes 43 and 3"):
        qlearn.clamp(X, 2.0, 0.0, machine=QNNPACK)
    for shape in ((), (3, 0)):
        empty = QTensor(np.zeros(shape, np.uint8), 0.5, 3, "quint8")
        for name in ("relu6", "clamp", "hardtanh", "hardswish", "hardsigmoid"):
            with pytest.raises(ValueError, match=r"x must (not be empty|have dimensions)"):
                getattr(qlearn, name)(empty, *ARGUMENTS[name], machine=QNNPACK)
    tiny = QTensor(CODES, 1e-40, 3, "quint8")
    with pytest.raises(ValueError, match=r"the scale of x must be at least 1\.17\d*e-38 as float32 on qnnpack"):
        qlearn.hardsigmoid(tiny, machine=QNNPACK)
    with pytest.raises(ValueError, match=r"scale must be at least 1\.17\d*e-38 as float32 on qnnpack, got 1e-40"):
        qlearn.hardswish(X, 1e-40, 3, machine=QNNPACK)
