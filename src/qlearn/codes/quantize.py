"""From real numbers to codes, in steps of the scale: which of three ways a kernel takes (Chapter 2, and 8).

Scalar code, FBGEMM's vectors and ATen's own vectors quantize each in their own way, and the first two did it otherwise
in one release. Each way takes float32 numbers x, the float32 inverse of the scale, and the zero point; its whole
numbers are still to be clamped.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.rounding import add_then_round, fma_then_round, round_then_add, round_then_add_float
from qlearn.machine.machine import Machine
from qlearn.machine.releases import ZERO_POINT_FIRST

__all__ = ["Quantize", "in_scalars", "in_vectors", "in_vectors_of_fbgemm"]

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[Any]
Quantize = Callable[[Floats, npt.ArrayLike, npt.ArrayLike], Codes]


def in_scalars(machine: Machine) -> Quantize:
    """One number at a time: ``AffineQuantizerBase.cpp`` quantize_val, FBGEMM ``QuantUtils.h`` Quantize."""
    return add_first if machine.has(ZERO_POINT_FIRST) else add_last_in_float


def in_vectors_of_fbgemm(machine: Machine) -> Quantize:
    """Eight numbers at a time, to 8 bits: FBGEMM ``QuantUtilsAvx2.cc`` QuantizeAvx2."""
    return fma_then_round if machine.has(ZERO_POINT_FIRST) else in_vectors


def in_vectors(x: Floats, inverse: npt.ArrayLike, zero_point: npt.ArrayLike) -> Codes:
    """rint(x * inverse) + zero_point, the sum in int32: ``vec256_qint.h`` QuantizeAvx2, in every release."""
    return round_then_add(x * np.asarray(inverse), zero_point)


def add_last_in_float(x: Floats, inverse: npt.ArrayLike, zero_point: npt.ArrayLike) -> Codes:
    """rint(x * inverse) + zero_point, the sum in float32."""
    return round_then_add_float(x * np.asarray(inverse), zero_point)


def add_first(x: Floats, inverse: npt.ArrayLike, zero_point: npt.ArrayLike) -> Codes:
    """rint(x * inverse + zero_point), the product rounded before the sum."""
    return add_then_round(x * np.asarray(inverse), zero_point)
