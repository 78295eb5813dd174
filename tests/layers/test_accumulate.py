"""accumulate.py: sums of integer products are exact, and lose what 16-bit saturation takes."""

import inspect
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlearn.layers import accumulate
from qlearn.layers.accumulate import factor, is_exact, saturation_loss, sums_of_products

shapes = st.tuples(st.integers(1, 3), st.integers(0, 5), st.integers(1, 70), st.integers(0, 6))


def drawn(shape: tuple[int, int, int, int], seed: int, low: int, high: int) -> tuple[Any, Any]:
    groups, rows, inner, outputs = shape
    rng = np.random.default_rng(seed)
    x = rng.integers(low, high, (groups, rows, inner)).astype(np.int16)
    return x, rng.integers(-255, 256, (groups, inner, outputs)).astype(np.int16)


def exactly(x: Any, w: Any) -> Any:
    """x @ w in int64."""
    return np.matmul(x.astype(np.int64), w.astype(np.int64))


def ours(x: Any, w: Any, largest: int) -> Any:
    return sums_of_products(x.astype(np.float32), factor(w, largest))


@given(shapes, st.integers(0, 2**32))
def test_exact(shape: tuple[int, int, int, int], seed: int) -> None:
    x, w = drawn(shape, seed, -255, 256)
    assert np.array_equal(ours(x, w, 255), exactly(x, w))


@pytest.mark.parametrize("inner", [256, 257, 258, 259, 515, 516, 517, 1000, 5000])
def test_every_product_as_large_as_can_be(inner: int, rng: np.random.Generator) -> None:
    """Codes of 0 and 255 with weights of 255 and -255: up to 258 products fit float32, more are cut."""
    x, w = rng.choice([0, 255], (1, 9, inner)), rng.choice([-255, 255], (1, inner, 33))
    x[0, 0], w[..., 0], x[0, 1, : inner // 2], w[:, : inner // 2, 1] = 255, 255, 0, -255
    f = factor(w, 255)
    assert f.dtype is (np.float32 if inner <= 258 else np.int32)
    assert len(f.cuts) == 1 + -(-inner // 258)
    total = sums_of_products(x.astype(np.float32), f)
    assert total.dtype == f.dtype
    assert np.array_equal(total, exactly(x, w))
    out = np.full((9, 1, 33), 7, f.dtype)
    sums_of_products(x.astype(np.float32), f, np.moveaxis(out, 1, 0))
    assert np.array_equal(out[:, 0], exactly(x, w)[0])


# 128 * 256 * 512 is 2**24; one more and float32 is wrong by one
EDGE = np.array([[[128] * 512 + [1]]]), np.array([[[256]] * 512 + [[1]]])


def test_float32_to_its_last_integer() -> None:
    """2**24 is the last sum that float32 can be trusted with: of 2**24 + 1 it makes 2**24."""
    x, w = EDGE
    assert is_exact(w[:, :512], 128)
    assert not is_exact(w, 128)
    assert ours(x[..., :512], w[:, :512], 128).item() == 2**24
    assert (x.astype(np.float32) @ w.astype(np.float32)).item() == 2**24
    assert ours(x, w, 128).item() == 2**24 + 1


BOUND = "largest * int(columns.max(initial=0)) <= 2**24"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (BOUND, BOUND.replace("2**24", "2**24 + 128")),  # one weight too many
        (BOUND, BOUND.replace("<=", "<")),
        (BOUND, BOUND.replace("max", "min")),
        ("np.abs(w.astype(np.int32)).sum(axis=-2, dtype=np.int64)", "abs(w.sum(axis=-2, dtype=np.int64))"),
        ("np.abs(w.astype(np.int32)).sum(axis=-2, dtype=np.int64)", "np.abs(w.astype(np.int32)).max(axis=-2)"),
        ("is_exact(w[..., a:b, :], largest) for a, b in pairwise(cuts)", "True for a, b in pairwise(cuts)"),
        ("for a, b in others", "for a, b in others[1:]"),
        ("x, f.w, out=out", "x.astype(np.float16), f.w.astype(np.float16), out=out"),
    ],
)
def test_another_bound_shows(right: str, wrong: str) -> None:
    source = inspect.getsource(accumulate)
    assert source.count(right) == 1
    module = ModuleType("mutated")
    exec(source.replace(right, wrong), module.__dict__)
    assert not hard_cases_are_exact(module)


def test_the_bound_as_it_is() -> None:
    assert hard_cases_are_exact(accumulate)


def hard_cases_are_exact(module: Any) -> bool:
    """The edge, alone and as one column of two; a small sum whose parts are large and odd."""
    x, w = EDGE
    one = np.concatenate([np.zeros_like(w), w], axis=-1)
    odd = np.random.default_rng(0).choice(np.arange(129, 257, 2), 12800)
    back = np.concatenate([odd[:6400], -odd[6400:]]).reshape(1, -1, 1)
    for a, b, largest in (
        (x, w, 128),
        (x, one, 128),
        (x[..., :512], w[:, :512], 128),
        (np.full((1, 1, 12800), 255), back, 255),
    ):
        a, b = a.repeat(64, axis=1), b.repeat(64, axis=2)  # a dot product alone adds in another order
        with np.errstate(all="ignore"):
            total = module.sums_of_products(a.astype(np.float32), module.factor(b, largest))
        if not np.array_equal(total, exactly(a, b)):
            return False
    return len(module.factor(w[:, :512], 128).cuts) == 2


def test_one_channel_decides() -> None:
    w = np.zeros((1, 600, 3), np.int16)
    assert factor(w, 255).cuts == (0, 600)
    w[..., 2] = -127
    assert factor(w, 255).cuts == (0, 300, 600)
    assert factor(w[..., :0], 255).cuts == (0, 600)
    assert ours(np.zeros((1, 0, 600)), w, 255).shape == (1, 0, 3)


def test_what_int32_does_not_hold_wraps() -> None:
    x, w = np.full((1, 1, 70000), 255), np.full((1, 70000, 1), 127)
    assert ours(x, w, 255).item() == 70000 * 255 * 127 - 2**32


def test_a_product_that_float32_does_not_hold() -> None:
    with pytest.raises(ValueError, match=r"largest \* abs\(w\) must be at most 2\*\*24, got 70000 and 255"):
        factor(np.full((1, 4, 1), 255), 70000)


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


LEAST = np.full((1, 1, 2), 145, np.uint8), np.array([[[113, -113], [113, -113]]], np.int8)
"""145 * 226 is 32770: a code times the sum of two weights comes no closer to int16's ends from outside."""


def test_the_least_sum_that_saturates() -> None:
    assert saturation_loss(*LEAST).tolist() == [[[3, -2]]]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("high > INT16.max", "high > INT16.max + 3"),
        ("low < INT16.min", "low < INT16.min - 2"),
        ("np.maximum(pairs, 0).sum(2)", "np.maximum(pairs, 0).max(2)"),
        ("np.minimum(pairs, 0).sum(2)", "np.minimum(pairs, 0).min(2)"),
    ],
)
def test_another_bound_misses_it(right: str, wrong: str) -> None:
    source = inspect.getsource(accumulate)
    assert source.count(right) == 1
    module = ModuleType("mutated")
    exec(source.replace(right, wrong), module.__dict__)
    assert module.saturation_loss(*LEAST).tolist() != [[[3, -2]]]
