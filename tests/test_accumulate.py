"""accumulate.py: sums of integer products are exact, and lose what 16-bit saturation takes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlearn import accumulate
from qlearn.accumulate import float_type, saturation_loss, sums_of_products, to_int32

shapes = st.tuples(st.integers(1, 3), st.integers(0, 5), st.integers(1, 70), st.integers(0, 6))


def drawn(shape: tuple[int, int, int, int], seed: int, low: int, high: int) -> tuple[Any, Any]:
    groups, rows, inner, outputs = shape
    rng = np.random.default_rng(seed)
    x = rng.integers(low, high, (groups, rows, inner)).astype(np.int16)
    return x, rng.integers(-255, 256, (groups, inner, outputs)).astype(np.int16)


@given(shapes, st.integers(0, 2**32))
def test_exact(shape: tuple[int, int, int, int], seed: int) -> None:
    x, w = drawn(shape, seed, -255, 256)
    ours = sums_of_products(x, w)
    assert ours.dtype == np.int32
    assert np.array_equal(ours, np.matmul(x.astype(np.int64), w.astype(np.int64)))


def test_float32_to_its_last_integer() -> None:
    """2**24 is the last sum that float32 can be trusted with: of 2**24 + 1 it makes 2**24."""
    x, w = np.array([[128] * 512 + [1]], np.int16), np.array([[256]] * 512 + [[0]], np.int16)  # 2**24
    assert float_type(x, w) is np.float32
    assert sums_of_products(x, w).item() == 2**24
    w[-1] = 1
    assert (x.astype(np.float32) @ w.astype(np.float32)).item() == 2**24
    assert float_type(x, w) is np.float64
    assert sums_of_products(x, w).item() == 2**24 + 1


def test_the_bound_holds_for_partial_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small sum can have a large part: 2**24 + 1 - 2**24 is 1, and 0 in float32."""
    x = np.array([[128] * 512 + [1] + [-128] * 512], np.int16)
    w = np.array([[256]] * 512 + [[1]] + [[256]] * 512, np.int16)
    assert float_type(x, w) is np.float64
    assert sums_of_products(x, w).item() == 1
    parts = np.cumsum((x * w.T.astype(np.float32)).astype(np.float32), dtype=np.float32)
    assert parts[-1] == 0
    monkeypatch.setattr(accumulate, "float_type", lambda x, w: np.float16)
    with np.errstate(all="ignore"):
        assert accumulate.sums_of_products(x[:, :600], w[:600]).item() != 2**24  # the dtype does matter


def test_one_channel_decides() -> None:
    x = np.full((1, 600), 255, np.int16)
    w = np.zeros((600, 3), np.int16)
    assert float_type(x, w) is np.float32
    w[:, 2] = -127
    assert float_type(x, w) is np.float64
    assert float_type(np.zeros((0, 600), np.int16), w) is np.float32
    assert float_type(x, w[:, :0]) is np.float32


def test_what_int32_does_not_hold_wraps() -> None:
    big = np.array([2.0**31, -(2.0**31) - 1, 2.0**32 + 5, -7.0])
    assert to_int32(big).tolist() == [-(2**31), 2**31 - 1, 5, -7]
    x, w = np.full((1, 70000), 255, np.int16), np.full((70000, 1), 127, np.int16)
    assert sums_of_products(x, w).item() == 70000 * 255 * 127 - 2**32


def saturated(x: Any, w: Any) -> Any:
    """One pair after the other, as the instruction has it."""
    x, w = x.astype(int), w.astype(int)
    total = np.zeros((*x.shape[:2], w.shape[2]), int)
    for g, b, m in np.ndindex(total.shape):
        for k in range(0, x.shape[2], 2):
            pair = (x[g, b, k : k + 2] * w[g, k : k + 2, m]).sum()
            total[g, b, m] += min(max(pair, -32768), 32767)
    return total


@given(shapes, st.integers(0, 2**32), st.sampled_from([127, 128, 129, 200, 255]))
def test_saturation(shape: tuple[int, int, int, int], seed: int, largest: int) -> None:
    x, w = drawn(shape, seed, 0, largest + 1)
    x, w = x.astype(np.uint8), np.clip(w, -128, 127).astype(np.int8)
    x[np.random.default_rng(seed).random(x.shape) < 0.3] = largest
    exact = np.matmul(x.astype(int), w.astype(int))
    loss = saturation_loss(x, w)
    assert loss.dtype == np.int32
    assert np.array_equal(exact - loss, saturated(x, w))
    if largest <= 128:
        assert not loss.any()


def test_edges_of_int16() -> None:
    for pair, weights, lost in (
        ([255, 255], [127, 1], 0),  # 32,640
        ([255, 254], [127, 2], 126),  # 32,893 - 32,767
        ([128, 128], [-128, -128], 0),  # -32,768 fits
        ([129, 128], [-128, -128], -128),
        ([255], [-128], 0),
        ([0, 255, 255, 0], [127, 127, 127, 127], 0),  # neighbours, but no pair
    ):
        assert saturation_loss(np.array([[pair]], np.uint8), np.array([weights], np.int8)[..., None]).item() == lost
