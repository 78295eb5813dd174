"""Averages in integers: a step of the exact sum of a window's codes (Chapter 9, Integers only).

The sum is an integer anyway; what follows it is one float32 product and a rounding. A mean of real numbers that are
added in float32 is no function of that sum, but where it cannot come near a tie it is the rounded mean all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import DTYPES
from qlearn.codes.quantize import in_scalars, in_vectors, in_vectors_of_fbgemm
from qlearn.codes.rounding import cvtps2dq, saturate
from qlearn.elementwise.concatenate import inverse_in_double
from qlearn.integers.accumulators import Codes
from qlearn.integers.certificate import prove_form
from qlearn.integers.forms import Form, Ints
from qlearn.integers.steps import step_of
from qlearn.layers.mean import divided
from qlearn.layers.pooling import inverse_of_count, inverse_of_scales, inverse_of_sides, quantize_in_int32
from qlearn.machine.machine import BODY, Machine

__all__ = ["Average", "adaptive_avg_pool2d", "avg_pool2d", "mean"]

ROUNDING = 2.0**-24
LARGEST = 2**22  # pixels: their sums fit int32


@dataclass(frozen=True, eq=False)
class Average:
    """The integers of an average (Chapter 9).

    Args:
        form: sums -> codes.
        offset: what is subtracted from each code before it is added up: the zero point, or 0.
        formula: the float32 steps of the sum.
    """

    form: Form
    offset: int
    formula: Callable[[Ints], npt.NDArray[Any]]

    def codes(self, sums: npt.ArrayLike) -> Ints:
        """Of sums of q - offset over windows, int64."""
        return self.form.codes(sums)

    def check(self) -> int:
        """Prove it again; how many sums it looked at.

        Raises:
            Unproven: a code differs.
        """
        return prove_form(self.form, self.formula)


def avg_pool2d(
    x: Codes, n: int, pixels: int, path: int, machine: Machine, *, channels_last: bool, dtype: str = "quint8"
) -> Average:
    """The integers of ``qlearn.avg_pool2d`` for windows that are divided by n (Chapter 9).

    Args:
        x: the codes that come.
        n: the number to divide by. On the engine qnnpack, the kernel's pixels.
        pixels: that such a window sees, at most.
        path: BODY for the channels of whole vectors of a channels_last x, else TAIL.
        channels_last: whether x lies so.
        dtype: of x. The engine qnnpack takes quint8 its own way, but not with ceil_mode: then name another engine.
    """
    z = x.zero_point
    if machine.engine == "qnnpack" and dtype == "quint8":
        return _average(x, pixels, dtype, lambda s: in_vectors(s, inverse_of_scales(x.scale, n), z))
    if not channels_last:
        return _average(x, pixels, dtype, lambda s: quantize_in_int32(s, inverse_in_double(n), z))
    way = in_vectors if path == BODY and machine.capability != "DEFAULT" else in_scalars(machine)
    return _average(x, pixels, dtype, lambda s: way(s, inverse_of_count(n), z))


def adaptive_avg_pool2d(
    x: Codes, sides: tuple[int, int], path: int, machine: Machine, *, channels_last: bool, dtype: str = "quint8"
) -> Average:
    """The integers of ``qlearn.adaptive_avg_pool2d`` for windows of these sides (Chapter 9).

    On the engine qnnpack, where each window has the same sides and there are several pixels in it, quint8 is
    ``avg_pool2d``'s.

    Args:
        sides: height and width of the window.
        x, path, channels_last, dtype: as of ``avg_pool2d``.
    """
    z, (kh, kw) = x.zero_point, sides
    if channels_last:
        body = path == BODY and machine.capability != "DEFAULT"
        way = in_vectors_of_fbgemm(machine) if body else in_scalars(machine)
        return _average(x, kh * kw, dtype, lambda s: way(s, inverse_of_count(kh * kw), z))
    m = inverse_of_sides(np.array([kh]), np.array([kw]))[0, 0]
    return _average(x, kh * kw, dtype, lambda s: quantize_in_int32(s, m, 0), offset=0)


def mean(x: Codes, n: int, machine: Machine, *, inner: bool, dtype: str = "quint8") -> Average:
    """The integers of ``qlearn.mean`` of n codes (Chapter 9).

    Args:
        x: the codes that come.
        inner: whether x is contiguous and the mean is over its last axes. Else real numbers are added in float32, and
            their rounded mean is proved to be the integers' by a bound on the error, whatever the order of the sum.
        dtype: of x. The engine qnnpack takes the mean over H and W of quint8 as ``avg_pool2d`` with n pixels.

    Raises:
        NotImplementedError: not inner, and n is even, so that there are ties which the order of the sum decides; or the
            error may reach across a tie; or a scale with which float32 underflows.
    """
    if inner:
        return _average(x, n, dtype, lambda s: cvtps2dq(divided(s, n)), offset=0)
    check_mean(x, n)
    z = x.zero_point

    def rounded(s: Ints) -> npt.NDArray[Any]:
        return saturate((2 * s + n) // (2 * n) + z, DTYPES[dtype])

    low, high = n * (x.least - z), n * (x.most - z)
    info = np.iinfo(DTYPES[dtype])
    return Average(step_of(rounded, low, high, (int(info.min), int(info.max))), z, rounded)


def check_mean(x: Codes, n: int) -> None:
    """Refuse a mean in float32 that may be another than the rounded one.

    In steps of the scale: each of n numbers is at most d = max abs(q - z), and is rounded once. A sum in any order
    rounds each at most n - 1 times, then come a quotient, an inverse and a product: at most n + 4 roundings of 2**-24
    each, and one of the sum with the zero point, below 512. For an odd n the exact mean is at least 1 / (2 n) from a
    tie.

    Raises:
        NotImplementedError: as ``mean``.
    """
    if n % 2 == 0:
        raise NotImplementedError(f"a mean of {n} codes added in float32 has ties, which the order of the sum decides")
    if not 1e-30 < x.scale < 1e30:
        raise NotImplementedError(f"scale must lie between 1e-30 and 1e30 for a mean in integers, got {x.scale}")
    d = max(abs(x.least - x.zero_point), abs(x.most - x.zero_point))
    error = d * np.expm1((n + 4) * np.log1p(ROUNDING)) + 512 * ROUNDING
    if not error < 0.999 / (2 * n):
        raise NotImplementedError(
            f"a mean of {n} codes added in float32 may be off by {error:.2g} of a code, and come across a tie"
        )


def _average(
    x: Codes, pixels: int, dtype: str, quantize: Callable[[Any], npt.NDArray[Any]], *, offset: int | None = None
) -> Average:
    """The form for sums of up to so many pixels."""
    if pixels > LARGEST:
        raise NotImplementedError(f"a window must not hold more than {LARGEST} pixels for integers, got {pixels}")
    offset = x.zero_point if offset is None else offset
    low, high = (pixels * (end - offset) for end in (x.least, x.most))

    def formula(s: Ints) -> npt.NDArray[Any]:
        return saturate(quantize(s.astype(np.float32)), DTYPES[dtype])

    info = np.iinfo(DTYPES[dtype])
    return Average(step_of(formula, min(low, 0), max(high, 0), (int(info.min), int(info.max))), offset, formula)
