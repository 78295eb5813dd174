"""The exact sums over a convolution's windows, planned once a layer and made in pieces (Chapter 7, Convolution)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.layers.accumulate import Factor, factor, sums_of_products
from qlearn.layers.linear import centered_weight
from qlearn.layers.windows import Geometry, columns, matrices, pad, slide
from qlearn.layers.winograd import MIDDLE, Tiles, prepare, sums_over_tiles
from qlearn.machine.layout import channels_to_last

__all__ = ["accumulate", "in_pieces"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Piece = tuple[slice, slice]
"""Images, and rows (the first spatial dimension), of what a convolution gives."""

MANY = 32
"""Tiles, and channels, from which on ``winograd`` is quicker."""
PIECE = 2**19  # elements of the columns that are made at once, so that they stay in the cache


def accumulate(x: QTensor, weight: QTensor, g: Geometry) -> Array:
    """The exact sums of (x - x_zero_point) * (w - w_zero_point), shape (N, *out, M).

    Whole numbers: float32 where ``accumulate.is_exact`` proves that all of them fit, else int32.
    """
    acc = np.empty((0, *g.out, weight.shape[0]), np.float32)
    for piece, sums in in_pieces(x, weight, g):
        if not len(acc):
            acc = np.empty((x.shape[0], *acc.shape[1:]), sums.dtype)
        acc[piece] = sums
    return acc


def in_pieces(x: QTensor, weight: QTensor, g: Geometry) -> Iterator[tuple[Piece, Array]]:
    """``accumulate``, one piece after the other, each small enough to stay in the cache."""
    keep_freed_memory()
    zero_point, outputs = x.q_zero_point(), weight.shape[0]
    plan = weight.once(plan_of, g, x.shape[0], zero_point)
    if isinstance(plan, Tiles):
        yield from sums_over_tiles(tiled(x, g), plan, (g.out[0], g.out[1]))
        return
    codes = channels_to_last(x.int_repr())  # (N, *lengths, C)
    for band in plan.bands:
        padded = centered(codes, band, zero_point)  # (n, *padded lengths, C)
        if plan.taps is not None:
            acc = sums_each_tap(slide(padded, g), plan.taps, g)
        else:
            rows = columns(padded, g)  # (G, n * rows * ..., K)
            acc = np.empty((rows.shape[1], g.groups, plan.f.w.shape[-1]), plan.f.dtype)
            sums_of_products(rows, plan.f, out=acc.transpose(1, 0, 2))
        yield band.piece, acc.reshape(len(padded), -1, *g.out[1:], outputs)


class Band(NamedTuple):
    """The rows of x that a piece of the result sees."""

    piece: Piece
    seen: Piece  # their images and rows
    lengths: tuple[int, ...]  # with the padding
    corner: tuple[int, ...] | None  # where they begin in it; None: there is no padding


class Plan(NamedTuple):
    """How the sums of a layer are computed: by products of matrices, or tap after tap."""

    f: Factor
    taps: Floats | None
    bands: list[Band]


def plan_of(weight: QTensor, g: Geometry, n: int, zero_point: int) -> Plan | Tiles:
    """The plan for n images; or the weights for ``winograd``, where that is quicker and exact."""
    tiles = weight.once(tiles_of, zero_point) if in_tiles(n, weight, g) else None
    if tiles:
        return tiles
    largest = max(zero_point, 255 - zero_point)
    f = weight.once(factor_of, g.groups, largest)
    taps = weight.once(rows_of_taps, g, largest) if weight.shape[1] == 1 and f.dtype == np.float32 else None
    outputs, inner = weight.shape[0], prod(weight.shape[1:]) * g.groups
    size = 4 * outputs if taps is not None else max(inner, outputs)
    return Plan(f, taps, [band_of(g, piece) for piece in pieces(n, g.out[0], prod(g.out[1:]) * size)])


@cache
def keep_freed_memory() -> None:
    """Let the C library keep what arrays have freed for those to come, instead of giving it back to the system.

    New pages of the system take longer than all that is computed in them. glibc keeps blocks as large as any that was
    freed before, up to 32 MB; so one that nobody writes to is made, and freed. Elsewhere it does no harm.
    """
    np.empty(2**25 - 2**16, np.uint8)


def band_of(g: Geometry, piece: Piece) -> Band:
    """Where the rows lie that a piece sees."""
    images, rows = piece
    first, stop = rows.start * g.stride[0], (min(rows.stop, g.out[0]) - 1) * g.stride[0]
    first, stop = first - g.padding[0], stop - g.padding[0] + g.dilation[0] * (g.kernel[0] - 1) + 1
    seen = slice(max(0, first), min(max(0, stop), g.lengths[0]))
    before = max(0, -first)  # rows of padding
    lengths, within = (stop - first, *g.padded[1:]), (max(0, seen.stop - seen.start), *g.lengths[1:])
    return Band(piece, (images, seen), lengths, None if lengths == within else (before, *g.padding[1:]))


def centered(codes: Array, band: Band, zero_point: int) -> Floats:
    """(N, *lengths, C) -> (n, *padded lengths, C): codes - zero_point of the rows that a piece of the result sees."""
    part = codes[band.seen]
    if band.corner is not None:
        return pad(part, band.lengths, band.corner, zero_point, np.float32, less=zero_point)
    whole = part.astype(np.float32, order="C")
    if zero_point:
        whole -= np.float32(zero_point)
    return whole


def factor_of(weight: QTensor, groups: int, largest: int) -> Factor:
    """w - w_zero_point as the right factor of columns that are at most largest."""
    return factor(matrices(centered_weight(weight), groups), largest)


def tiles_of(weight: QTensor, x_zero_point: int) -> Tiles | None:
    """w - w_zero_point for ``winograd``."""
    return prepare(centered_weight(weight), x_zero_point)


def in_tiles(n: int, weight: QTensor, g: Geometry) -> bool:
    """Whether ``winograd`` is for this geometry, and with enough tiles and channels to be quicker."""
    fits = g.kernel == (3, 3) and set(g.stride + g.dilation) == {1} and g.groups == 1
    return fits and n * prod(g.out) >= 4 * MANY and min(weight.shape[:2]) >= MANY


def tiled(x: QTensor, g: Geometry) -> Array:
    """x - MIDDLE as ``sums_over_tiles`` takes it: with an even number of rows and columns."""
    codes, lengths = channels_to_last(x.int_repr()), tuple(n + n % 2 + 2 for n in g.out)
    return pad(codes, lengths, g.padding, x.q_zero_point(), np.int16, less=MIDDLE)


def pieces(n: int, rows: int, size: int) -> Iterator[Piece]:
    """Cuts of n images of rows rows of size elements, about PIECE elements each: whole images, or rows of one image."""
    images, some = max(1, PIECE // (rows * size)), max(1, min(rows, PIECE // size))
    for i, j in product(range(0, n, images), range(0, rows, some)):
        yield slice(i, i + images), slice(j, j + some)


def rows_of_taps(weight: QTensor, g: Geometry, largest: int) -> Floats:
    """(M / G, prod(kernel), columns, G): the factor of each tap along a row of windows."""
    w = weight.once(factor_of, g.groups, largest).w  # (G, prod(kernel), M / G)
    rows = np.empty((w.shape[2], w.shape[1], g.out[-1], g.groups), np.float32)
    rows[...] = w.transpose(2, 1, 0)[:, :, None]
    return rows


def sums_each_tap(seen: Array, factors: Floats, g: Geometry) -> Floats:
    """``sums_of_products(columns(seen), w)`` for one channel a group: too small for BLAS, so tap after tap.

    Args:
        seen: whole numbers, shape (n, rows, ..., *kernel, G, 1).
        factors: made by ``rows_of_taps``.

    Returns:
        The sums, shape (n, rows, ..., G, M / G).
    """
    spatial = len(g.out)
    seen = seen[..., 0].transpose(*range(1 + spatial, 1 + 2 * spatial), *range(1 + spatial), -1)  # (*kernel, n, ..., G)
    sums = np.empty((len(factors), *seen.shape[spatial:]), np.float32)
    factors = factors.reshape(len(factors), *g.kernel, g.out[-1], g.groups)
    taps, where, row = "ijk"[:spatial], "nab"[:spatial], "wc"
    if g.stride[-1] == 1:  # the columns and channels of a row lie side by side
        row = "r"
        seen, factors = (a.reshape(*a.shape[:-2], -1) for a in (seen, factors))
    for total, of_taps in zip(sums.reshape(len(sums), *seen.shape[spatial:]), factors, strict=True):
        np.einsum(f"{taps}{where}{row},{taps}{row}->{where}{row}", seen, of_taps, out=total)
    return np.stack(list(sums), axis=-1) if len(sums) > 1 else sums[0][..., None]
