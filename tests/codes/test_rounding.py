"""rounding.py: each step against exact rational arithmetic, and the counterexample that needs it."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from qlearn.codes import rounding
from qlearn.codes.rounding import (
    INT32_CAP,
    add_then_round,
    cap_int32,
    cvtps2dq,
    fma,
    fma_then_round,
    reciprocal,
    round_half_even,
    round_then_add,
    saturate,
)

F = np.float32


def nearest_float32(x: Fraction) -> np.float32:
    """The float32 nearest to an exact number, ties to even; infinite from half a step beyond the largest."""
    if x == 0:
        return F(0)
    exponent = abs(x).numerator.bit_length() - abs(x).denominator.bit_length()
    if abs(x) < Fraction(2) ** exponent:
        exponent -= 1  # now 2**exponent <= |x| < 2**(exponent + 1)
    step = Fraction(2) ** (max(exponent, -126) - 23)
    rounded = round(x / step) * step  # Python rounds a Fraction half to even
    if abs(rounded) >= 2**128:
        return F(np.copysign(np.inf, float(np.sign(x.numerator))))
    return F(float(rounded))


def exact_fma(a: Any, b: Any, c: Any) -> Any:
    return np.array([nearest_float32(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)))
                     for x, y, z in zip(a, b, c, strict=True)], F)  # fmt: skip


def naive_fma(a: Any, b: Any, c: Any) -> Any:
    """Without round to odd: two roundings."""
    with np.errstate(over="ignore", under="ignore"):
        return (np.asarray(a, np.float64) * np.asarray(b, np.float64) + np.asarray(c, np.float64)).astype(F)


def almost_one_product(exponent: int) -> tuple[np.float32, np.float32]:
    """Two float32 numbers whose product is 2**exponent * (1 - 2**-40)."""
    return F(2.0 ** (exponent // 2) * (1 + 2.0**-20)), F(2.0 ** (exponent - exponent // 2) * (1 - 2.0**-20))


DOUBLE_ROUNDING = {
    "a hair below the tie": (*almost_one_product(-24), F(1 + 2.0**-23)),
    "a hair above the tie": (-almost_one_product(-24)[0], almost_one_product(-24)[1], F(1 + 3 * 2.0**-23)),
    "negative": (-almost_one_product(-24)[0], almost_one_product(-24)[1], F(-(1 + 2.0**-23))),
    "the smallest normal numbers": (*almost_one_product(-150), F(2.0**-126 + 2.0**-149)),
    "subnormal numbers": (*almost_one_product(-150), F(2.0**-127 + 2.0**-149)),
    "at the overflow": (F(2.0**52 * (1 + 2.0**-20)), F(2.0**51 * (1 - 2.0**-20)), F(np.finfo(F).max)),
}


@pytest.mark.parametrize("case", DOUBLE_ROUNDING)
def test_fma_where_the_naive_form_rounds_twice(case: str) -> None:
    a, b, c = ([v] for v in DOUBLE_ROUNDING[case])
    exact = exact_fma(a, b, c)
    assert np.array_equal(fma(a, b, c), exact)
    assert not np.array_equal(naive_fma(a, b, c), exact)


def test_fma_is_exact_on_drawn_bits(rng: np.random.Generator) -> None:
    """Operands of any bits; and sums near ties, where a * b lies some 2**24 to 2**60 below c."""
    n = 2000
    any_a, any_b, any_c = (finite(rng.integers(0, 2**32, n, dtype=np.uint32).view(F)) for _ in "abc")
    a = (rng.integers(1, 2**24, n) * 2.0 ** rng.integers(-100, -60, n)).astype(F)
    b = (rng.integers(1, 2**24, n) * 2.0 ** rng.integers(-40, 10, n)).astype(F) * rng.choice([-1, 1], n).astype(F)
    c = (rng.integers(2**23, 2**24, n) * 2.0 ** rng.integers(-149, -60, n)).astype(F)
    for x, y, z in ((any_a, any_b, any_c), (a, b, c), (a, b, -c)):
        assert np.array_equal(fma(x, y, z), exact_fma(x, y, z))
    close = [almost_one_product(int(e) - 24) for e in rng.integers(-125, 100, n)]
    x, y = (np.array(v, F) for v in zip(*close, strict=True))
    z = (x.astype(np.float64) * y * 2.0**24).astype(F) * (1 + rng.integers(0, 2**23, n) * 2.0**-23).astype(F)
    assert np.array_equal(fma(x, y, z), exact_fma(x, y, z))
    assert not np.array_equal(naive_fma(x, y, z), exact_fma(x, y, z))  # the inputs are hard enough to tell


def finite(x: Any) -> Any:
    return np.where(np.isfinite(x), x, F(1))


def test_naive_fma_is_exact_in_an_8_bit_dequantize(rng: np.random.Generator) -> None:
    """scale * q + float32(-scale * zero_point): every q and zero point; no bit of the float64 sum is lost."""
    q, zero_point = np.arange(-128, 256)[:, None], np.arange(-128, 256)[None, :]  # (384, 1), (1, 384)
    largest = F(2.0**119).view(np.uint32)  # so that nothing overflows
    for scale in (*rng.integers(1, largest, 40, dtype=np.uint32).view(F), F(1e-45), F(2.0**-126), F(1.1754942e-38)):
        c = scale * (-zero_point).astype(F)
        product = np.float64(scale) * q
        s = product + c.astype(np.float64)
        t = s - product
        assert not ((product - (s - t)) + (c - t)).any()
        assert np.array_equal(naive_fma(scale, q, c), fma(scale, q, c))


def test_fma_keeps_infinities_nan_and_shapes() -> None:
    assert fma(F(np.inf), F(1), F(1)) == np.inf
    assert np.isnan(fma(F(np.inf), F(0), F(1)))
    assert np.isnan(fma(F(np.inf), F(1), F(-np.inf)))
    assert fma(F(3e38), F(2), F(0)) == np.inf
    assert fma(np.ones((2, 1), F), np.ones(3, F), F(1)).shape == (2, 3)
    assert fma(1, 2, 3).shape == () and fma(1, 2, 3).dtype == F


def test_reciprocal_is_rounded_once(rng: np.random.Generator) -> None:
    scale = rng.integers(1, 0x7F800000, 3000, dtype=np.uint32).view(F)  # every positive finite float32 may come
    assert np.array_equal(reciprocal(scale), [nearest_float32(1 / Fraction(float(s))) for s in scale])
    assert reciprocal(1e-40) == np.inf
    assert reciprocal(0.1) == F(1) / F(0.1)
    assert reciprocal(0.1).dtype == F


def test_multiply_by_the_reciprocal_is_not_division() -> None:
    """FBGEMM's own counterexample: 127.5, a tie, against 127.499992."""
    x, scale = F(0.273939937), F(0.00214854861)
    assert (round_half_even(x * reciprocal(scale)), round_half_even(x / scale)) == (128, 127)


def test_ties_go_to_even() -> None:
    assert round_half_even(np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], F)).tolist() == [-2, -2, 0, 0, 2, 2]


def test_zero_point_before_or_after_the_rounding() -> None:
    """An odd zero point turns the even neighbour into the odd one; float32 may make a tie where there was none."""
    tie, almost = F(0.5), np.nextafter(F(0.5), F(0))
    assert (add_then_round(tie, 3), round_then_add(tie, 3)) == (4, 3)
    assert (add_then_round(tie, 4), round_then_add(tie, 4)) == (4, 4)
    assert (add_then_round(almost, 127), round_then_add(almost, 127)) == (128, 127)


def test_fused_and_unfused_differ() -> None:
    """x * r rounds up to a tie; the fused form still sees that x * r is below it."""
    r = reciprocal(0.05)
    x = np.arange(0.025, 6, 0.05).astype(F)
    x = np.concatenate([x, np.nextafter(x, F(0)), np.nextafter(x, F(9))])
    fused, unfused = fma_then_round(x, r, 3), add_then_round(x * r, 3)
    exact = [round(Fraction(float(v)) * Fraction(float(r)) + 3) for v in x]
    assert (fused != unfused).any()
    assert ((unfused != exact).sum(), (fused != exact).sum())[0] > 0


def test_beyond_int32() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 2.0**31, 2.0**31 - 128, -(2.0**31), -(2.0**31) - 256, 0.5, 1.5], F)
    low = -(2**31)
    assert cvtps2dq(x).tolist() == [low, low, low, low, 2**31 - 128, low, low, 0, 2]
    assert cvtps2dq(cap_int32(x)).tolist() == [2**31 - 128, 2**31 - 128, low, *[2**31 - 128] * 2, low, low, 0, 2]
    assert INT32_CAP == 2**31 - 128 and np.nextafter(INT32_CAP, F(np.inf)) == 2**31
    assert round_then_add(np.array([-3e38, 3e38], F), -128).tolist() == [2**31 - 128, 2**31 - 256]  # the first wraps
    assert fma_then_round(F(np.nan), 1, 0) == 2**31 - 128


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
def test_saturate(dtype: Any) -> None:
    info = np.iinfo(dtype)
    edges = np.array([info.min - 1, info.min, info.max, info.max + 1], np.int64)
    assert saturate(edges, dtype).tolist() == [info.min, info.min, info.max, info.max]
    assert saturate(edges.astype(np.float64), dtype).tolist() == [info.min, info.min, info.max, info.max]
    assert saturate(np.array([-np.inf, np.inf], F), dtype).tolist() == [info.min, info.max]
    assert saturate(np.array([np.nan], F), dtype).tolist() == [-(2**31) if dtype == np.int32 else 0]
    assert saturate(edges, dtype).dtype == dtype


def test_all_are_exported() -> None:
    assert all(hasattr(rounding, name) for name in rounding.__all__)
