"""Every NumPy that qlearn allows gives the same integers: no dtype is left to NumPy's own rules.

Before NumPy 2 a 0-d array or a scalar took on the dtype of the array beside it if its value fits there: int8 - int16(3)
stayed int8, and wrapped in silence.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qlearn
from operators import OPERATORS
from qlearn import Machine, QTensor
from qlearn.machine.machine import ENGINES

MACHINES = (("AVX2", False, "2.14"), ("AVX512", True, "2.14"), ("DEFAULT", False, "2.13"))


def exactly(acc: Any) -> tuple[float, Any]:
    """A power of two as the scale, and round(acc / scale) + 128, by integers: ties to even, clamped to 8 bits.

    With powers of two for scales and an even zero point each engine's arithmetic comes to that, below 2**24.
    """
    assert np.abs(acc).max() < 2**24
    shift = max(1, int(np.abs(acc).max()).bit_length() - 8)
    down = acc >> shift
    rest = acc - (down << shift)
    up = (rest > 1 << shift - 1) | ((rest == 1 << shift - 1) & (down % 2 == 1))
    return 2.0**shift, np.clip(down + up + 128, 0, 255)


def quantized(rng: np.random.Generator, shape: tuple[int, ...], zero_points: Any) -> tuple[QTensor, Any]:
    """A weight of any codes, and w - w_zero_point in int64."""
    w = rng.integers(-128, 128, shape).astype(np.int8)
    each = np.reshape(zero_points, (-1, *[1] * (len(shape) - 1)))
    if np.ndim(zero_points):
        return QTensor(w, np.ones(shape[0]), zero_points, "qint8", 0), w.astype(np.int64) - each
    return QTensor(w, 1.0, zero_points, "qint8"), w.astype(np.int64) - each


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("per_channel", [False, True])
@settings(deadline=None)
@given(seed=st.integers(0, 2**32), x_zero=st.integers(0, 255), w_zero=st.integers(-128, 127))
def test_sums_are_exact(engine: str, per_channel: bool, seed: int, x_zero: int, w_zero: int) -> None:
    """Linear layers and convolutions, with weights whose differences to their zero points leave 8 bits."""
    rng, machine = np.random.default_rng(seed), Machine(engine, "AVX512", 1)
    into, outputs, rows = (int(n) for n in rng.integers(1, (200, 9, 5)))
    zeros = 0 if engine == "onednn" else w_zero
    zero_points = np.full(outputs, zeros) - (rng.integers(0, 2, outputs) if zeros > -128 and zeros else 0)
    weight, w = quantized(rng, (outputs, into), zero_points if per_channel else zeros)
    codes = rng.integers(0, 256, (rows, into)).astype(np.uint8)
    scale, expected = exactly((codes.astype(np.int64) - x_zero) @ w.T)
    ours = qlearn.linear(QTensor(codes, 1.0, x_zero, "quint8"), weight, None, scale, 128, machine=machine)
    assert np.array_equal(ours.int_repr(), expected)

    weight, w = quantized(rng, (outputs, 3, 5), zero_points if per_channel else zeros)
    codes = rng.integers(0, 256, (rows, 3, 20)).astype(np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(codes.astype(np.int64) - x_zero, 5, axis=2)  # (N, C, 16, 5)
    scale, expected = exactly(np.einsum("nclk,mck->nml", windows, w))
    x = QTensor(codes, 1.0, x_zero, "quint8")
    ours = qlearn.conv1d(x, weight, None, 1, 0, 1, 1, scale, 128, machine=machine)
    assert np.array_equal(ours.int_repr(), expected)


@pytest.mark.skipif(not np.__version__.startswith("1."), reason="NumPy 2 asks no value for its dtype")
@pytest.mark.parametrize("name", OPERATORS)
def test_no_dtype_depends_on_a_value(name: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy 1.24 and later can warn where 2 gives another dtype; a warning fails a test here."""
    operator = OPERATORS[name]
    before = np._get_promotion_state()
    for engine in operator.engines:
        for capability, vnni, release in MACHINES:
            machine = Machine(engine, capability, 1, vnni, release)
            monkeypatch.setattr(Machine, "from_torch", lambda machine=machine: machine)  # for whom a layer is drawn
            for _ in range(5):
                case = operator.draw(rng)
                np._set_promotion_state("weak_and_warn")
                try:
                    operator.qlearn(case, machine)
                except (ValueError, NotImplementedError):
                    pass  # refused
                finally:
                    np._set_promotion_state(before)
