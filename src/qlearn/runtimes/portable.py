"""exp, exp - 1 and tanh in float64, of sums and products alone: the same bits on every machine and in JavaScript.

NumPy's and a browser's differ in their last bits. For a formula that somebody may have written "in float64" any of
them will do: a code depends on it only within 1e-12 or so of a tie.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["exp", "expm1", "tanh"]

Reals = npt.NDArray[np.float64]

LN2 = (0.6931471803691238, 1.9082149292705877e-10)
"""ln(2) in two parts: the first has zeros at its end, so that it times an exponent is exact."""


def exp(x: Reals) -> Reals:
    """exp(x) to within a few units of the last place, x cut to [-700, 700]: 13 terms of a series, a power of 2."""
    k, r = _reduced(x)
    return np.asarray((1 + r * _series(r)) * np.exp2(k))


def expm1(x: Reals) -> Reals:
    """exp(x) - 1, near 0 too, where the difference would have few bits."""
    k, r = _reduced(x)
    near = r * _series(r)
    return np.where(k == 0, near, (1 + near) * np.exp2(k) - 1)


def tanh(x: Reals) -> Reals:
    """tanh(x) from ``expm1``, near 0 and near 1 too."""
    t = expm1(2 * np.minimum(np.abs(x), 22.0))
    return np.copysign(np.where(np.abs(x) < 1, t / (t + 2), 1 - 2 / (t + 2)), x)


def _reduced(x: Reals) -> tuple[Reals, Reals]:
    """A whole number k and r with x = k ln(2) + r."""
    wide = np.clip(x, -700.0, 700.0)
    k = np.rint(wide * 1.4426950408889634)
    return k, (wide - k * LN2[0]) - k * LN2[1]


def _series(r: Reals) -> Reals:
    """(exp(r) - 1) / r."""
    y = np.ones_like(r)
    for n in range(13, 1, -1):
        y = 1 + r * y / n
    return y
