"""Exact sums of integer products, through BLAS; and what 16-bit saturation takes from them (Chapter 6).

NumPy multiplies integer matrices without BLAS, slowly. Floating point is as exact, where no partial sum can leave the
integers that it holds: ``float_type`` proves it for each product.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["float_type", "saturation_loss", "sums_of_products", "to_int32"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int32]
INT16 = np.iinfo(np.int16)


def float_type(x: Array, w: Array) -> type[np.float32] | type[np.float64]:
    """The narrowest float dtype in which x @ w is exact, whatever the order of the additions (Chapter 6).

    float32 holds every integer up to 2**24. A partial sum of sum_k x_k * w_k is at most max(abs(x)) * sum_k abs(w_k).
    Where that is at most 2**24 for every column of w, no partial sum is rounded. float64 holds the integers up to
    2**53: more than 2**36 products of 9-bit integers.

    Args:
        x: integers, shape (..., B, K).
        w: integers, shape (..., K, M).
    """
    largest = max(int(x.max(initial=0)), -int(x.min(initial=0)))
    columns = np.abs(w.astype(np.int64)).sum(axis=-2)  # (..., M)
    return np.float32 if largest * int(columns.max(initial=0)) <= 2**24 else np.float64


def sums_of_products(x: Array, w: Array) -> Ints:
    """x @ w in int32, exact up to int32's own wrapping: (..., B, K) @ (..., K, M) -> (..., B, M) (Chapter 6)."""
    kind = float_type(x, w)
    return to_int32(np.matmul(x.astype(kind), w.astype(kind)))


def to_int32(total: Array) -> Ints:
    """Whole numbers of any size as int32; what does not fit wraps, as 32-bit registers do."""
    if total.dtype == np.float32:  # at most 2**24
        return total.astype(np.int32)
    return total.astype(np.int64).astype(np.int32)


def saturation_loss(x: Array, w: Array) -> Ints:
    """What x @ w exceeds the sum that clamps the sum of each two neighbouring products to int16 (Chapter 6).

    A CPU without VNNI multiplies 32 bytes at once with the instruction vpmaddubsw: x_0 * w_0 + x_1 * w_1, for k = 0 and
    1, 2 and 3, ..., clamped to [-32768, 32767]. Codes x up to 127 never reach the clamp.

    Only pairs of weights that can reach it with the largest x are looked at.

    Args:
        x: codes as they are stored, 0 to 255, the zero point not subtracted, shape (G, B, K).
        w: codes as they are stored, -128 to 127, shape (G, K, M).

    Returns:
        int32, shape (G, B, M): the exact sum minus the saturated one.
    """
    loss = np.zeros((x.shape[0], x.shape[1], w.shape[2]), np.int32)
    largest = int(x.max(initial=0))
    if largest <= 128:  # 2 * 128 * -128 is still an int16
        return loss
    x, w = x.astype(np.int32), w.astype(np.int32)
    for k in range(0, x.shape[2] - 1, 2):  # a last single product fits: 255 * -128 > -32768
        pair = w[:, k : k + 2]  # (G, 2, M)
        high, low = largest * np.maximum(pair, 0).sum(1), largest * np.minimum(pair, 0).sum(1)  # (G, M)
        group, column = np.nonzero((high > INT16.max) | (low < INT16.min))  # (n,), n pairs that can saturate
        if len(group):
            total = (x[group, :, k : k + 2] @ pair[group, :, column][..., None])[..., 0]  # (n, B) int32
            loss[group, :, column] += total - np.clip(total, INT16.min, INT16.max)
    return loss
