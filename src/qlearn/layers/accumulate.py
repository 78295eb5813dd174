"""Exact sums of integer products, through BLAS; and what 16-bit saturation takes from them (Chapter 6).

NumPy multiplies integer matrices without BLAS, slowly. float32 is as exact where no partial sum can leave the integers
that it holds: ``is_exact`` proves it for a matrix of weights. Where it cannot, the sum is cut into parts that it can.
"""

from itertools import count, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Factor", "can_saturate", "factor", "is_exact", "saturation_loss", "sums_of_products", "to_int32"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
INT16 = np.iinfo(np.int16)


def is_exact(w: Array, largest: int) -> bool:
    """Whether float32 gives x @ w exactly for all integers abs(x) <= largest, in any order of additions (Chapter 6).

    float32 holds every integer up to 2**24. A partial sum of sum_k x_k * w_k is at most largest * sum_k abs(w_k). Where
    that is at most 2**24 for every column of w, no partial sum is rounded.

    Args:
        w: integers, shape (..., K, M).
        largest: of abs(x).
    """
    columns = np.abs(w.astype(np.int32)).sum(axis=-2, dtype=np.int64)  # (..., M)
    return largest * int(columns.max(initial=0)) <= 2**24


class Factor(NamedTuple):
    """The right factor of exact products, and where its rows are cut into parts that float32 multiplies exactly."""

    w: Floats  # (G, K, M), whole numbers
    cuts: tuple[int, ...]  # 0, ..., K

    @property
    def dtype(self) -> type[np.float32] | type[np.int32]:
        """Of the sums: float32 where there is one part, and all of them fit; else int32."""
        return np.float32 if len(self.cuts) == 2 else np.int32


def factor(w: Array, largest: int) -> Factor:
    """w, integers of shape (G, K, M), as the right factor of x with abs(x) <= largest, in as few parts as are exact."""
    inner = w.shape[-2]
    for n in count(1):
        cuts = tuple(inner * i // n for i in range(n + 1))
        if all(is_exact(w[..., a:b, :], largest) for a, b in pairwise(cuts)):
            break
        if n >= inner:
            raise ValueError(f"largest * abs(w) must be at most 2**24, got {largest} and {np.abs(w).max()}")
    return Factor(np.ascontiguousarray(w, np.float32), cuts)


def sums_of_products(x: Floats, f: Factor, out: Array | None = None) -> Array:
    """x @ w, exact up to int32's own wrapping: (G, B, K) @ (G, K, M) -> (G, B, M) (Chapter 6).

    Args:
        x: whole numbers, none larger than those the factor was made for.
        f: made by ``factor``.
        out: where to write the sums: an array of f.dtype.

    Returns:
        Whole numbers, of f.dtype.
    """
    first, *others = pairwise(f.cuts)
    if not others:
        return np.matmul(x, f.w, out=out)
    total = np.empty((*x.shape[:-1], f.w.shape[-1]), np.int32) if out is None else out
    part = np.empty(total.shape, np.float32)
    total[...] = np.matmul(x[..., : first[1]], f.w[:, : first[1]], out=part)
    for a, b in others:
        total += np.matmul(x[..., a:b], f.w[:, a:b], out=part).astype(np.int32)
    return total


def to_int32(total: Array) -> Ints:
    """Sums as int32; those in float32 are at most 2**24."""
    return total.astype(np.int32, copy=False)


def can_saturate(w: Array, largest: int) -> npt.NDArray[np.bool_]:
    """Which two neighbouring weights can leave int16 with codes from 0 to largest: (G, K, M) -> (G, K // 2, M)."""
    even = w[:, : w.shape[1] // 2 * 2].astype(np.int32)
    pairs = even.reshape(w.shape[0], w.shape[1] // 2, 2, w.shape[2])  # a last single product fits: 255 * -128 > -32768
    high, low = largest * np.maximum(pairs, 0).sum(2), largest * np.minimum(pairs, 0).sum(2)
    return np.asarray((high > INT16.max) | (low < INT16.min))


def saturation_loss(x: Array, w: Array) -> Ints:
    """What x @ w exceeds the sum that clamps the sum of each two neighbouring products to int16 (Chapter 6).

    FBGEMM and oneDNN without VNNI, and FBGEMM's depthwise kernels on every CPU, multiply 32 bytes at once with the
    instruction vpmaddubsw: x_0 * w_0 + x_1 * w_1, for k = 0 and 1, 2 and 3, ..., clamped to [-32768, 32767]. Codes x up
    to 128 never reach the clamp. Which layers lose so much: ``layers.kernels.kernel_of``, ``layers.linear``.

    Only pairs of weights that can reach it with the largest x are looked at.

    Args:
        x: codes as they are stored, 0 to 255, the zero point not subtracted, shape (G, B, K).
        w: codes as they are stored, -128 to 127, shape (G, K, M).

    Returns:
        int32, shape (G, B, M): the exact sum minus the saturated one.
    """
    loss = np.zeros((x.shape[0], x.shape[1], w.shape[2]), np.int32)
    x, w, reached = x.astype(np.int32), w.astype(np.int32), can_saturate(w, int(x.max(initial=0)))
    for k in np.flatnonzero(reached.any(axis=(0, 2))):
        group, column = np.nonzero(reached[:, k])  # (n,), n pairs that can saturate
        pair = w[group, 2 * k : 2 * k + 2, column]  # (n, 2)
        total = (x[group, :, 2 * k : 2 * k + 2] @ pair[..., None])[..., 0]  # (n, B) int32
        loss[group, :, column] += total - np.clip(total, INT16.min, INT16.max)
    return loss
