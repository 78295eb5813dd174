"""exp, exp - 1 and tanh in float32, to the last bit, as two C libraries compute them (Chapter 8, The last bit).

PyTorch's vector bodies for AVX2 and AVX512 call Sleef's functions of one unit in the last place (``Sleef_expf8_u10``
and its sisters, built with fused multiply-adds); its scalar tails, and all of DEFAULT, call the C library's. The two
differ in the last bit for about one input in ten, so that equal codes at two places of a tensor can become two
integers.

The C library is glibc for x86-64, measured with version 2.36 on a CPU with fused multiply-adds (FMA). Its expf, new in
version 2.27, gives another float32 without them for 2 of 2.2 billion inputs. Its expm1f and tanhf are those it took
from Sun's fdlibm. A library that computes them in another way, for one by rounding correctly, gives another last bit
for about one input in ten.

Source: Sleef ``sleefsimdsp.c`` xexpf, expk2f, xexpm1f, xtanhf, and ``df.h``; glibc ``e_expf.c``, ``e_exp2f_data.c``,
``s_expm1f.c``, ``s_tanhf.c``.
"""

from decimal import Decimal

import numpy as np
import numpy.typing as npt

from qlearn.codes.rounding import fma

__all__ = ["glibc_expf", "glibc_expm1f", "glibc_tanhf", "sleef_expf", "sleef_expm1f", "sleef_tanhf"]

Floats = npt.NDArray[np.float32]
Pair = tuple[Floats, Floats]
"""A number as the sum of two float32: its rounded value, and what the rounding left."""


def f(value: float) -> Floats:
    """A float32 number, shape ()."""
    return np.asarray(value, np.float32)


# Sleef: a polynomial on [-ln(2) / 2, ln(2) / 2] with fused multiply-adds, then a power of two

LOG2_E = f(1.442695040888963407359924681001892137426645954152985934135449406931)
LN2_HIGH, LN2_LOW = f(0.693145751953125), f(1.428606765330187045e-06)
"""ln(2) in two parts: the first has 9 bits less than float32, so that it times an exponent is exact."""
EXP = tuple(map(f, (0.000198527617612853646278381, 0.00139304355252534151077271, 0.00833336077630519866943359,
                    0.0416664853692054748535156, 0.166666671633720397949219, 0.5)))  # fmt: skip
EXP_OF_PAIR = tuple(map(f, (0.1980960224e-3, 0.1394256484e-2, 0.8333456703e-2, 0.4166637361e-1)))
SIXTH = f(0.166666659414234244790680580464)


def sleef_expf(x: npt.ArrayLike) -> Floats:
    """exp(x) by Sleef's expf_u10: 1 + (s + s**2 * u(s)) on a power of two, float32 of x's shape (Chapter 8)."""
    x = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        q = _exponent(x * LOG2_E)
        s = fma(q, -LN2_LOW, fma(q, -LN2_HIGH, x))
        u = EXP[0]
        for coefficient in EXP[1:]:
            u = fma(u, s, coefficient)
        y = np.ldexp(f(1) + fma(s * s, u, s), q.astype(np.int32))
    return np.where(x < -104, f(0), np.where(x > 100, f(np.inf), y))


def sleef_expm1f(x: npt.ArrayLike) -> Floats:
    """exp(x) - 1 by Sleef's expm1f_u10, the exponential as a pair: float32 of x's shape (Chapter 8)."""
    x = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        high, low = _plus(_exp_of_pair(x), f(-1))
        y = high + low
    y = np.where(x > f(88.72283172607421875), f(np.inf), y)
    y = np.where(x < f(-16.635532333438687426013570), f(-1), y)
    return np.where((x == 0) & np.signbit(x), x, y)


def sleef_tanhf(x: npt.ArrayLike) -> Floats:
    """tanh(x) by Sleef's tanhf_u10: (e - 1/e) / (e + 1/e) in pairs, e = exp(abs(x)); of x's shape (Chapter 8)."""
    x = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        e = _exp_of_pair(np.abs(x))
        inverse = _inverse(e)
        high, low = _quotient(_plus_smaller(e, (-inverse[0], -inverse[1])), _plus_smaller(e, inverse))
        y = high + low
    y = np.where((np.abs(x) > f(8.664339742)) | np.isnan(y), f(1), y)
    return np.where(np.isnan(x), x, np.copysign(y, x))


def _exp_of_pair(x: Floats) -> Pair:
    """exp(x) as a pair."""
    q = _exponent(x * LOG2_E)
    s = _plus(_plus((x, np.zeros_like(x)), q * -LN2_HIGH), q * -LN2_LOW)
    u = EXP_OF_PAIR[0]
    for coefficient in EXP_OF_PAIR[1:]:
        u = fma(u, s[0], coefficient)
    t = _plus(_product(s, (u, f(0))), SIXTH)
    t = _plus(_product(s, t), f(0.5))
    t = _plus_pair(s, _product(_square(s), t))
    high, low = _one_plus(t)
    exponent, gone = q.astype(np.int32), x < -104
    return np.where(gone, f(0), np.ldexp(high, exponent)), np.where(gone, f(0), np.ldexp(low, exponent))


def _exponent(x: Floats) -> Floats:
    """x rounded to the nearest integer, as a float32; far out and NaN, where the result is known, any number."""
    return np.asarray(np.nan_to_num(np.clip(np.rint(x), f(-1000), f(1000))))


# Sleef's arithmetic of pairs. Each sum is rounded to float32 after each step, from left to right.


def _plus(x: Pair, y: Floats) -> Pair:
    """x + y, whichever is larger."""
    s = x[0] + y
    v = s - x[0]
    return s, ((x[0] - (s - v)) + (y - v)) + x[1]


def _plus_pair(x: Pair, y: Pair) -> Pair:
    """x + y, whichever is larger."""
    s = x[0] + y[0]
    v = s - x[0]
    return s, ((x[0] - (s - v)) + (y[0] - v)) + (x[1] + y[1])


def _plus_smaller(x: Pair, y: Pair) -> Pair:
    """x + y where abs(x) >= abs(y)."""
    s = x[0] + y[0]
    return s, (((x[0] - s) + y[0]) + x[1]) + y[1]


def _one_plus(x: Pair) -> Pair:
    """1 + x where abs(x) <= 1."""
    s = f(1) + x[0]
    return s, ((f(1) - s) + x[0]) + x[1]


def _product(x: Pair, y: Pair) -> Pair:
    """x * y."""
    s = x[0] * y[0]
    return s, fma(x[0], y[1], fma(x[1], y[0], fma(x[0], y[0], -s)))


def _square(x: Pair) -> Pair:
    """x * x."""
    s = x[0] * x[0]
    return s, fma(x[0] + x[0], x[1], fma(x[0], x[0], -s))


def _inverse(x: Pair) -> Pair:
    """1 / x."""
    s = f(1) / x[0]
    return s, s * fma(-x[1], s, fma(-x[0], s, f(1)))


def _quotient(x: Pair, y: Pair) -> Pair:
    """x / y."""
    t = f(1) / y[0]
    s = x[0] * t
    u = fma(t, x[0], -s)
    v = fma(-y[1], t, fma(-y[0], t, f(1)))
    return s, fma(s, v, fma(x[1], t, u))


# glibc

STEPS = 32
POWERS = np.array([float(Decimal(2) ** (Decimal(i) / STEPS)) for i in range(STEPS)])
"""2 ** (i / 32), rounded correctly to float64, shape (32,)."""
STEPS_PER_E = float.fromhex("0x1.71547652b82fep+0") * STEPS
"""32 / ln(2), float64."""
EXP2 = tuple(float.fromhex(c) / STEPS**k for c, k in (
    ("0x1.c6af84b912394p-5", 3), ("0x1.ebfce50fac4f3p-3", 2), ("0x1.62e42ff0c52d6p-1", 1)))  # fmt: skip
"""Coefficients of 2 ** (r / 32), the highest power first, float64."""


def glibc_expf(x: npt.ArrayLike) -> Floats:
    """exp(x) by glibc's expf: a table and a cubic in float64, rounded to float32 at the end; of x's shape (Chapter 8).

    One step is fused: r = 32 / ln(2) * x - k, k the nearest integer. The table's factor is a power of 2 ** (1 / 32).
    """
    x = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        wide = np.clip(x, f(-200), f(200)).astype(np.float64)
        k = np.nan_to_num(np.rint(STEPS_PER_E * wide)).astype(np.int64)
        r = _fused_remainder(wide, k)
        y = (EXP2[0] * r + EXP2[1]) * (r * r) + (EXP2[2] * r + 1.0)
        return np.asarray(y * np.ldexp(POWERS[k % STEPS], k // STEPS)).astype(np.float32)


def _fused_remainder(x: npt.NDArray[np.float64], k: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """STEPS_PER_E * x - k, rounded once, for x of float32: the first 29 bits of the factor times x are exact."""
    high = round(STEPS_PER_E * 2**23) / 2**23
    return (high * x - k) + (STEPS_PER_E - high) * x


EXPM1 = tuple(map(f, (4.0082177293e-06, -7.9365076090e-05, 1.5873016091e-03, -3.3333335072e-02, 1)))
"""Coefficients, the highest power first. glibc has one more, -2e-7, which changes the result of no float32."""
REDUCED = (f(6.9313812256e-01), f(9.0580006145e-06))
"""ln(2) in two parts, the first with zeros at its end, so that it times an exponent is exact."""
LOG2_E_SHORT = f(1.4426950216e00)
HALF_LN2, THREE_HALVES_LN2, FAR, LARGEST = np.array([0x3EB17218, 0x3F851592, 0x4195B844, 0x42B17218], np.int32).view(
    np.float32
)  # 1/2, 3/2, 27 and 128 ln(2)


def glibc_expm1f(x: npt.ArrayLike) -> Floats:
    """exp(x) - 1 by glibc's expm1f, from fdlibm: a rational function, each step in float32 (Chapter 8)."""
    x = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        size = np.abs(x)
        one, half = np.copysign(f(1), x), np.copysign(f(0.5), x)
        far = np.trunc(np.clip(LOG2_E_SHORT * x + half, f(-200), f(200)))
        k = np.nan_to_num(np.where(size <= HALF_LN2, f(0), np.where(size < THREE_HALVES_LN2, one, far)))
        high, low = x - k * REDUCED[0], k * REDUCED[1]
        r = high - low
        y = _expm1_of_reduced(r, (high - r) - low, k)
    y = np.where(size < f(2.0**-25), x, y)
    y = np.where(x <= -FAR, f(-1), np.where(x >= LARGEST, f(np.inf), y))
    return np.where(np.isnan(x), x, y)


def _expm1_of_reduced(x: Floats, c: Floats, k: Floats) -> Floats:
    """exp(x + c + k ln(2)) - 1, where abs(x) is at most ln(2) / 2 and c is what the rounding of x left."""
    half = f(0.5) * x
    square = x * half
    p = EXPM1[0]
    for coefficient in EXPM1[1:]:
        p = square * p + coefficient
    t = f(3) - p * half
    e = square * ((p - t) / (f(6) - x * t))
    e = (x * (e - c) - c) - square
    exponent = k.astype(np.int32)
    lower = np.ldexp(np.ones_like(x), -exponent)  # 2**-k
    small = np.where(x < f(-0.25), f(-2) * (e - (x + f(0.5))), f(1) + f(2) * (x - e))
    middle = np.ldexp((f(1) - lower) - (e - x), exponent)
    large = np.ldexp((x - (e + lower)) + f(1), exponent)
    outer = np.ldexp(f(1) - (e - x), exponent) - f(1)
    return np.select(
        [k == 0, k == -1, k == 1, (k < -1) | (k > 56), k < 23],
        [x - e, f(0.5) * (x - e) - f(0.5), small, outer, middle],
        large,
    )


def glibc_tanhf(x: npt.ArrayLike) -> Floats:
    """tanh(x) by glibc's tanhf, from fdlibm: from its expm1f, each step in float32 (Chapter 8)."""
    x = np.asarray(x, np.float32)
    size = np.abs(x)
    with np.errstate(all="ignore"):
        t = glibc_expm1f(np.where(size >= 1, f(2), f(-2)) * size)
        y = np.where(size >= 1, f(1) - f(2) / (t + f(2)), -t / (t + f(2)))
        y = np.where(size < f(2.0**-55), size, np.where(size >= 22, f(1), y))
    return np.where(np.isnan(x), x, np.copysign(y, x))
