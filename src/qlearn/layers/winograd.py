"""Exact 3 x 3 convolutions with fewer products: Winograd's F(2 x 2, 3 x 3) on integers (Chapter 7, Convolution).

Four neighbouring outputs share a tile of 4 x 4 inputs. In one dimension, with inputs d and weights g:

    m_0 = (d_0 - d_2) g_0,  m_1 = (d_1 + d_2) (g_0 + g_1 + g_2) / 2,  m_2 = (d_2 - d_1) (g_0 - g_1 + g_2) / 2,
    m_3 = (d_1 - d_3) g_2,  y_0 = m_0 + (m_1 + m_2),  y_1 = (m_1 - m_2) - m_3:

four products for two outputs, not six; in two dimensions 16 for four outputs, not 36. Every number on the way is a
multiple of 1/4, so float32 is exact up to 2**22 of them, or 2**24 where they are whole: ``prepare`` proves it. Source:
Winograd (1980); Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016).
"""

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Tiles", "prepare", "sums_over_tiles"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

G = np.array([[1, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 1]])
HALVES = np.array([1, 2, 2, 1])  # the second and third row of G count in halves
MIDDLE = 128  # of the codes; x - MIDDLE is at most 128
PIECE = 2**19  # elements of the transformed tiles that are made at once, so that they stay in the cache


class Tiles(NamedTuple):
    """Weights as the tiles want them, and what is missing in the sums for x - MIDDLE."""

    w: Floats  # (16, C, M)
    rest: Floats  # (M,): (MIDDLE - x_zero_point) * sum(w)


def prepare(w: Array, x_zero_point: int) -> Tiles | None:
    """The transformed weights, or None where float32 is not proved exact.

    Each step adds whole numbers, in units of 1 / (HALVES[i] * HALVES[j]), of 1 / HALVES[j], then of 1. Bounds for any x
    with abs(x - MIDDLE) <= 128: a transformed tile is at most 4 * 128, one that is transformed along one axis 2 * 128.
    So every partial sum is at most

    - 512 sum_c abs(G w G')_ij in the products, of which (1, 1) also takes 4 rest;
    - 256 sum_c,r abs(w G')_rj, and 2 rest, once the rows are added: y_0 and y_1, and m_1 + m_2 and m_1 - m_2, are sums
      over the three rows r of w;
    - 128 sum abs(w), and rest, once the columns are added.

    Args:
        w: integers, w - w_zero_point, shape (M, C, 3, 3).
        x_zero_point: of the input.
    """
    w = w.astype(np.int64)
    rest = (MIDDLE - x_zero_point) * w.sum(axis=(1, 2, 3))  # (M,)
    rows = w @ G.T  # (M, C, 3, 4)
    both = G @ rows  # (M, C, 4, 4)
    bounds = (
        512 * np.abs(both).sum(axis=1).max(axis=(1, 2)) + 4 * np.abs(rest),
        256 * np.abs(rows).sum(axis=(1, 2)).max(axis=1) + 2 * np.abs(rest),
        128 * np.abs(w).sum(axis=(1, 2, 3)) + np.abs(rest),
    )
    if max(int(bound.max()) for bound in bounds) > 2**24:
        return None
    transformed = both / np.outer(HALVES, HALVES)  # multiples of 1/4
    order = transformed.transpose(2, 3, 1, 0).reshape(16, w.shape[1], w.shape[0])
    return Tiles(np.ascontiguousarray(order, np.float32), rest.astype(np.float32))


def sums_over_tiles(x: Array, tiles: Tiles, out: tuple[int, int]) -> Iterator[tuple[tuple[slice, slice], Floats]]:
    """The sums of (x - x_zero_point) * w over windows of 3 x 3, one apart: whole numbers, shape (N, H, W, M).

    They come in pieces, each with the images and the rows that it has.

    Args:
        x: x - MIDDLE, int16, padded to an even number of rows and columns, at least two more than the result has; shape
            (N, rows, columns, C).
        tiles: made by ``prepare``.
        out: H and W of the result.
    """
    n, rows, columns, channels = x.shape
    high, wide, outputs = rows // 2 - 1, columns // 2 - 1, tiles.w.shape[-1]
    some = max(1, min(high, PIECE // (16 * wide * max(channels, outputs))))
    for image, i in product(range(n), range(0, high, some)):
        d = x[image, 2 * i : 2 * (i + some) + 2]  # the rows of some tiles
        products = transform(d, tiles.w)
        products[1, 1] += tiles.rest
        sums = np.empty((len(d) // 2 - 1, 2, wide, 2, outputs), np.float32)
        add_up(products, sums)
        piece = sums.reshape(1, -1, 2 * wide, outputs)[:, : out[0] - 2 * i, : out[1]]
        yield (slice(image, image + 1), slice(2 * i, 2 * i + piece.shape[1])), piece


def transform(d: Array, w: Floats) -> Floats:
    """Inputs (2 T + 2, columns, C), weights (16, C, M) -> the products of T rows of tiles (4, 4, T, wide, M)."""
    high, wide, channels = len(d) // 2 - 1, d.shape[1] // 2 - 1, d.shape[2]
    across = np.empty((4, len(d), wide, channels), d.dtype)
    differences(d[:, :-2:2], d[:, 1:-1:2], d[:, 2::2], d[:, 3::2], across)
    both = np.empty((4, 4, high, wide, channels), d.dtype)
    differences(across[:, :-2:2], across[:, 1:-1:2], across[:, 2::2], across[:, 3::2], both)
    tiles = both.reshape(16, high * wide, channels).astype(np.float32)
    products: Floats = np.matmul(tiles, w)
    return products.reshape(4, 4, high, wide, -1)


def differences(d_0: Array, d_1: Array, d_2: Array, d_3: Array, out: Array) -> None:
    """What the products take of four inputs; out has one axis more, the first."""
    np.subtract(d_0, d_2, out=out[0])
    np.add(d_1, d_2, out=out[1])
    np.subtract(d_2, d_1, out=out[2])
    np.subtract(d_1, d_3, out=out[3])


def add_up(products: Floats, sums: Floats) -> None:
    """Products (4, 4, T, wide, M) -> sums (T, 2, wide, 2, M)."""
    down = np.empty((2, *products.shape[1:]), np.float32)  # (2, 4, T, wide, M)
    outputs_of(products, down[0], down[1])
    for a in (0, 1):
        outputs_of(down[a], sums[:, a, :, 0], sums[:, a, :, 1])


def outputs_of(m: Floats, y_0: Floats, y_1: Floats) -> None:
    """y_0 = m_0 + (m_1 + m_2), y_1 = (m_1 - m_2) - m_3: the order of which ``prepare`` proves that it is exact."""
    np.add(m[1], m[2], out=y_0)
    np.add(y_0, m[0], out=y_0)
    np.subtract(m[1], m[2], out=y_1)
    np.subtract(y_1, m[3], out=y_1)
