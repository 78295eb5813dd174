"""The steps that a layer's arithmetic is made of, each to be replaced by what somebody may have written instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.rounding import saturate

__all__ = ["COMMON", "ROUNDINGS", "Arithmetic", "Flawed", "Steps", "codes_of", "fixed_point"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Arithmetic:
    """Which steps of a layer's arithmetic are replaced; as it stands, none is."""

    double: bool = False
    divide: bool = False
    order: str = ""
    bias: str = ""
    rounding: str = "even"
    fixed_point: str = ""
    padding: bool = False
    saturation: bool = False
    plain: bool = False
    fused: bool = True
    wrap: bool = False
    relu: bool = False

    @property
    def real(self) -> type[np.floating[Any]]:
        """The dtype of real numbers."""
        return np.float64 if self.double else np.float32


Flawed = Callable[[Arithmetic], Array]
Steps = dict[str, tuple[Any, ...]]
"""Which steps of an arithmetic can be replaced, and by what."""
ROUNDINGS = ("truncate", "floor", "away", "up")
COMMON: Steps = {
    "double": (True,),
    "divide": (True,),
    "order": ("other", "last"),
    "rounding": ROUNDINGS,
    "wrap": (True,),
}


def rounded(y: Array, how: str) -> Array:
    """Whole numbers of y's dtype."""
    if how == "even":
        return np.asarray(np.rint(y))
    if how == "truncate":
        return np.asarray(np.trunc(y))
    if how == "floor":
        return np.asarray(np.floor(y))
    if how == "up":
        return np.asarray(np.floor(y + y.dtype.type(0.5)))
    whole = np.trunc(y)
    return np.asarray(whole + np.sign(y) * (np.abs(y - whole) >= 0.5))


def codes_of(y: Array, zero_point: int, how: Arithmetic, *, first: bool, low: int = 0, kind: Any = np.uint8) -> Array:
    """Real numbers in steps of the result as codes, int64; ``first``: the zero point goes in before the rounding."""
    first = not first if how.order == "other" else first and how.order != "last"
    with np.errstate(invalid="ignore", over="ignore"):
        if first:
            whole = rounded(y + y.dtype.type(zero_point), how.rounding)
        else:
            whole = rounded(y, how.rounding) + y.dtype.type(zero_point)
        info = np.iinfo(kind)
        if how.wrap:
            return np.maximum(whole.astype(np.int64), low).astype(kind).astype(np.int64)
        return saturate(np.clip(whole, low, info.max), kind).astype(np.int64)


def fixed_point(acc: Array, multiplier: Any, how: str) -> npt.NDArray[np.int64]:
    """acc * multiplier with integers: the multiplier as 31 bits and a power of two, (..., M)."""
    fraction, exponent = np.frexp(np.asarray(multiplier, np.float64))
    q = np.rint(fraction * 2.0**31).astype(np.int64)
    full = q == 2**31
    q, exponent = np.where(full, q // 2, q), exponent.astype(np.int64) + full
    a = acc.astype(np.int64)
    if how == "single":
        shift = 31 - exponent
        return np.asarray((a * q + (np.int64(1) << (shift - 1))) >> shift)
    product = (a << np.maximum(exponent, 0)) * q
    nudged = product + np.where(product >= 0, 2**30, 1 - 2**30)
    high = np.sign(nudged) * (np.abs(nudged) >> 31)  # towards zero, as C divides
    right = np.maximum(-exponent, 0)
    mask = (np.int64(1) << right) - 1
    up = (high & mask) > (mask >> 1) + (high < 0)
    return np.asarray((high >> right) + up)
