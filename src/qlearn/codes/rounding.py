"""The float32 steps that every kernel is made of (Chapter 2, Rounding and clamping).

Each function is one step of PyTorch's arithmetic with one rounding, or none. Real numbers are converted to float32 on
the way in; scalars and arrays broadcast as in NumPy.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "INT32_CAP",
    "add_then_round",
    "cap_int32",
    "cvtps2dq",
    "fma",
    "fma_then_round",
    "reciprocal",
    "round_half_even",
    "round_then_add",
    "round_then_add_float",
    "saturate",
]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

INT32_MIN = -(2**31)
INT32_CAP = np.float32(2**31 - 128)
"""The largest float32 below 2**31. Vector kernels cut at it before they convert to int32."""


def reciprocal(scale: npt.ArrayLike) -> Floats:
    """Return float32(1) / float32(scale), rounded once; infinite where the quotient leaves float32.

    Kernels multiply by this number, they do not divide: FBGEMM ``QuantUtils.h``, ``Quantize`` (Chapter 2).
    """
    with np.errstate(over="ignore", divide="ignore"):
        inverse: Floats = np.float32(1) / np.asarray(scale, dtype=np.float32)
    return inverse


def fma(a: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike) -> Floats:
    """Return a * b + c in float32, rounded once: the processor's fused multiply-add (Chapter 2).

    Exact for all finite float32 inputs. A product of two float32 numbers has 48 bits, so float64 holds it exactly. The
    float64 sum s with c is rounded, but never across another float64 number. Halfway between two float32 numbers, where
    their rounding turns, is such a number; so float32(s) is right unless s lies just there, or below the normal numbers
    of float32, whose halves are elsewhere. ``_from_odd`` has those.

    The plain form is exact whenever a * b + c fits in 53 bits. It does in scale * q + float32(-scale * zero_point)
    with 8-bit q and zero_point: all terms are multiples of the last place of scale, below 2**33 of them.

    Infinities and NaN propagate as IEEE 754 says. Source: the instruction vfmadd in FBGEMM ``QuantUtilsAvx2.cc``.
    """
    a, b, c = (np.asarray(v, dtype=np.float32).astype(np.float64) for v in (a, b, c))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        product = np.asarray(a * b)  # exact
        s = np.asarray(product + c)  # rounded to 53 bits
        fused = np.asarray(s.astype(np.float32))
        doubtful = s.view(np.int64) & (2**29 - 1) == 2**28  # halfway
        tiny = np.finfo(np.float32).tiny
        if np.fmin.reduce(np.abs(fused), axis=None, initial=np.float32(1)) <= tiny:
            doubtful |= (np.abs(s) < tiny) & (s != 0)
        if doubtful.any():
            terms = (np.broadcast_to(v, s.shape)[doubtful] for v in (product, c))
            fused[doubtful] = _from_odd(*terms)
        return fused


def _from_odd(product: npt.NDArray[np.float64], c: npt.NDArray[np.float64]) -> Floats:
    """float32(product + c), rounded once.

    The float64 sum s has an exact error e (Knuth's TwoSum), which float64 also holds. A plain float32(s) would round
    twice. If e is not zero and the last bit of s is 0, s is moved by one unit in its last place towards e, so that the
    last bit says "inexact" (round to odd). With 53 >= 24 + 2 bits the final rounding to float32 then lands where the
    rounding of the exact sum does (Boldo and Melquiond, 2008), subnormal results included, since they have fewer bits.
    """
    s = product + c
    t = s - product
    e = (product - (s - t)) + (c - t)  # exact: s + e == product + c
    inexact = (e != 0) & np.isfinite(s)
    s[inexact] = _to_odd(s[inexact], e[inexact])
    return s.astype(np.float32)


def _to_odd(s: npt.NDArray[np.float64], e: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Move s by one unit in its last place towards s + e where its last bit is 0."""
    bits = s.view(np.int64)
    away = np.where((e > 0) == (s > 0), 1, -1)  # +1 enlarges the magnitude
    return np.where(bits & 1 == 0, bits + away, bits).view(np.float64)


def round_half_even(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Round to the nearest integer, ties to the even one, in the dtype of x: C's nearbyint (Chapter 2)."""
    rounded: npt.NDArray[Any] = np.rint(x)
    return rounded


def add_then_round(y: Floats, zero_point: npt.ArrayLike) -> Floats:
    """Return rint(float32(y + zero_point)): the zero point goes in before the rounding (Chapter 2).

    The float32 sum may round up to a tie, or leave one. Source: FBGEMM ``QuantUtils.h``, ``Quantize`` with LEGACY true.
    """
    return round_half_even(np.asarray(y, np.float32) + np.asarray(zero_point, np.float32))


def round_then_add_float(y: Floats, zero_point: npt.ArrayLike) -> Floats:
    """Return float32(rint(y) + zero_point): ``round_then_add`` in float32, as scalar code has it (Chapter 2).

    The sum is exact for 8-bit codes. Source: FBGEMM ``QuantUtils.h``, ``Quantize`` with LEGACY false.
    """
    return np.asarray(round_half_even(np.asarray(y, np.float32)) + np.asarray(zero_point, np.float32))


def fma_then_round(x: Floats, factor: npt.ArrayLike, zero_point: npt.ArrayLike) -> Ints:
    """Return rint(fma(x, factor, zero_point)) as int32: ``add_then_round`` with one rounding less (Chapter 2).

    The fused sum is capped at 2147483520 (NaN too); below -2**31 it gives -2**31. Source: FBGEMM
    ``QuantUtilsAvx2.cc``, ``QuantizeAvx2`` with LEGACY true.
    """
    return cvtps2dq(cap_int32(fma(x, factor, zero_point)))


def round_then_add(y: Floats, zero_point: npt.ArrayLike) -> Ints:
    """Return rint(y) + zero_point in int32: the zero point goes in after the rounding (Chapter 2).

    A tie goes to the even integer before the shift, so an odd zero point gives the other neighbour than
    ``add_then_round``. y is capped at 2147483520; below -2**31 and a negative zero point the sum wraps to a large
    positive number, as the instruction paddd does. Source: ``vec256_qint.h``, ``QuantizeAvx2``.
    """
    with np.errstate(over="ignore"):
        return np.asarray(cvtps2dq(cap_int32(y)) + np.asarray(zero_point, np.int32))


def cap_int32(x: Floats) -> Floats:
    """Return min(x, 2147483520) as the instruction minps has it: NaN gives the bound (Chapter 2)."""
    return np.fmin(np.asarray(x, np.float32), INT32_CAP)


def cvtps2dq(x: Floats) -> Ints:
    """Round to int32, ties to even; what int32 does not hold, NaN included, becomes -2**31 (Chapter 2).

    This is the x86 instruction of that name. Kernels call ``cap_int32`` first, so that only numbers that are too
    small, and not those too large, arrive at -2**31.
    """
    rounded = np.rint(np.asarray(x, np.float32))
    holds = (rounded >= np.float32(INT32_MIN)) & (rounded < np.float32(2**31))
    return (rounded if holds.all() else np.where(holds, rounded, np.float32(INT32_MIN))).astype(np.int32)


def saturate(x: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Clamp whole numbers (float or integer dtype) to the range of an integer dtype and convert (Chapter 2).

    NaN has no integer. C++ leaves the conversion open; on x86 it gives the low bits of -2**31: 0 in eight bits,
    -2**31 in 32. Source: FBGEMM ``QuantUtils.h``, ``clamp``.
    """
    info = np.iinfo(dtype)
    x = np.asarray(x)
    own = x.dtype.type
    if x.dtype.kind == "f" and info.bits == 8:
        clamped: npt.NDArray[Any] = np.clip(x, own(info.min), own(info.max))
        return (np.where(np.isnan(clamped), own(0), clamped) if np.isnan(clamped).any() else clamped).astype(dtype)
    if x.dtype.kind == "f":
        clamped = np.clip(x.astype(np.float64), info.min, info.max)
        return np.where(np.isnan(clamped), INT32_MIN, clamped).astype(np.int64).astype(dtype)
    reach = np.iinfo(x.dtype)  # it may be less
    clipped: npt.NDArray[Any] = np.clip(x, own(max(info.min, reach.min)), own(min(info.max, reach.max)))
    return clipped.astype(dtype)
