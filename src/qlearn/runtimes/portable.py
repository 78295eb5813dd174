"""exp in float64 of sums and products alone: the same bits on every machine, in Python and in JavaScript.

NumPy's exp and a browser's differ in their last bits. For a formula that somebody may have written "in float64" any of
them will do: a code depends on it only within 1e-12 or so of a tie.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["exp"]

LN2 = (0.6931471803691238, 1.9082149292705877e-10)
"""ln(2) in two parts: the first has zeros at its end, so that it times an exponent is exact."""


def exp(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """exp(x) to within a few units of the last place, x cut to [-700, 700]: 13 terms of a series, a power of 2."""
    wide = np.clip(x, -700.0, 700.0)
    k = np.rint(wide * 1.4426950408889634)
    r = (wide - k * LN2[0]) - k * LN2[1]
    y = np.ones_like(r)
    for n in range(13, 0, -1):
        y = 1 + r * y / n
    return np.asarray(y * np.exp2(k))
