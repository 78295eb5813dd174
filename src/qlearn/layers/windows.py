"""Where the windows of a convolution lie, and the exact sums over each (Chapter 7, Convolution)."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.layers.accumulate import Factor, factor, sums_of_products
from qlearn.layers.linear import centered_weight
from qlearn.layers.winograd import MIDDLE, Tiles, prepare, sums_over_tiles
from qlearn.machine.layout import channels_to_last

__all__ = ["Geometry", "accumulate", "columns", "geometry", "in_pieces", "lengths", "matrices", "pad"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Shape = tuple[int, ...]
Piece = tuple[slice, slice]
"""Images, and rows (the first spatial dimension), of what a convolution gives."""


@dataclass(frozen=True)
class Geometry:
    """Where the windows of a convolution lie; one number for each spatial dimension."""

    lengths: tuple[int, ...]  # of x
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @cached_property
    def out(self) -> tuple[int, ...]:
        """floor((length + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1."""
        each = zip(self.lengths, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in each)

    @cached_property
    def pixelwise(self) -> bool:
        """Whether the windows are the pixels of the padded x, each with all of its channels."""
        return {*self.kernel, *self.stride, self.groups} == {1}


@lru_cache(maxsize=1024)  # a network asks again for each of its layers
def windows_in_padding(g: Geometry) -> tuple[int, ...]:
    """How many windows lie wholly in the padding, or step over x, along each dimension."""
    each = zip(g.lengths, g.kernel, g.stride, g.padding, g.dilation, g.out, strict=True)
    return tuple(
        sum(not any(0 <= o * s - p + t * d < n for t in range(k)) for o in range(out)) for n, k, s, p, d, out in each
    )


def geometry(
    n: int, x: tuple[int, ...], w: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: Any
) -> Geometry:
    """The Geometry of x (N, C, *lengths) and w (M, C / groups, *kernel), or an error that names what is wrong."""
    if len(x) != n + 2:
        raise ValueError(f"x must have {n + 2} dimensions: N, C and {n} lengths, got shape {x}")
    if len(w) != n + 2:
        raise ValueError(f"weight must have {n + 2} dimensions: M, C / groups and {n} lengths, got shape {w}")
    stride, padding, dilation = (
        lengths(name, value, n, least)
        for name, value, least in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1))
    )
    return _checked(x, w, stride, padding, dilation, _integer("groups", groups))


@lru_cache(maxsize=1024)  # a network asks again for each of its layers
def _checked(x: Shape, w: Shape, stride: Shape, padding: Shape, dilation: Shape, groups: int) -> Geometry:
    if groups < 1 or x[1] % groups or w[0] % groups:
        raise ValueError(f"groups must divide the channels of x and of weight, {x[1]} and {w[0]}, got {groups}")
    if w[1] * groups != x[1]:
        raise ValueError(f"weight must have {x[1] // groups} channels, those of x / groups, got shape {w}")
    if 0 in x[1:] or 0 in w:
        raise ValueError(f"x and weight must not be empty, but for the batch of x, got shapes {x} and {w}")
    g = Geometry(x[2:], w[2:], stride, padding, dilation, groups)
    if min(g.out) < 1:
        raise ValueError(f"weight must not be larger than the padded x: kernel {g.kernel}, dilation {dilation}, x {x}")
    return g


def lengths(name: str, value: Any, n: int, least: int) -> tuple[int, ...]:
    """n integers of at least least, from one integer or n of them, or an error that names the argument."""
    if type(value) is tuple and len(value) == n and {*map(type, value)} == {int} and min(value) >= least:
        return value
    given = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * n
    found = tuple(_integer(name, v) for v in given)
    if len(found) != n or min(found) < least:
        raise ValueError(f"{name} must be an integer or {n} of them, at least {least}, got {value!r}")
    return found


def _integer(name: str, value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer or a sequence of them, got {value!r}") from None


MANY = 32
"""Tiles, and channels, from which on ``winograd`` is quicker."""
FEW = 8  # channels: they are quicker copied one after the other
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
    inside: tuple[slice, ...] | None  # where they lie in it; None: there is no padding


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
    lengths = stop - first, *(n + 2 * p for n, p in zip(g.lengths[1:], g.padding[1:], strict=True))
    within = max(0, seen.stop - seen.start), *g.lengths[1:]
    corner = zip((before, *g.padding[1:]), within, strict=True)
    inside = slice(None), *(slice(start, start + n) for start, n in corner)
    return Band(piece, (images, seen), lengths, None if lengths == within else inside)


def centered(codes: Array, band: Band, zero_point: int) -> Floats:
    """(N, *lengths, C) -> (n, *padded lengths, C): codes - zero_point of the rows that a piece of the result sees."""
    part = codes[band.seen]
    if band.inside is None:
        inner = padded = part.astype(np.float32, order="C")
    else:
        padded = np.zeros((len(part), *band.lengths, codes.shape[-1]), np.float32)
        inner = padded[band.inside]
        for channels in range(part.shape[-1]) if part.shape[-1] < FEW else [slice(None)]:
            inner[..., channels] = part[..., channels]
    if zero_point:
        inner -= np.float32(zero_point)
    return padded


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
    (high, wide), (top, left) = ((length + length % 2 + 2 for length in g.out), g.padding)
    d = np.full((x.shape[0], high, wide, x.shape[1]), x.q_zero_point() - MIDDLE, np.int16)
    inner = d[:, top : top + g.lengths[0], left : left + g.lengths[1]]
    inner[...] = channels_to_last(x.int_repr())
    inner -= np.int16(MIDDLE)
    return d


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


def pad(a: Array, g: Geometry, fill: int, dtype: npt.DTypeLike) -> Array:
    """(N, C, *lengths) -> (N, *padded lengths, C), channels last in memory."""
    n, channels = a.shape[:2]
    wide = np.full((n, *(s + 2 * p for s, p in zip(g.lengths, g.padding, strict=True)), channels), fill, dtype)
    inner = tuple(slice(p, p + s) for s, p in zip(g.lengths, g.padding, strict=True))
    wide[(slice(None), *inner)] = np.moveaxis(a, 1, -1)
    return wide


def slide(padded: Array, g: Geometry) -> Array:
    """(N, *padded lengths, C), contiguous -> (N, *out, *kernel, G, C / G): a view that repeats what windows share.

    There are as many windows as fit: ``Geometry.out``, or less rows where padded has less.
    """
    n, channels = padded.shape[0], padded.shape[-1]
    steps = padded.strides[1:-1]
    strides = [
        padded.strides[0],
        *(s * step for s, step in zip(g.stride, steps, strict=True)),
        *(d * step for d, step in zip(g.dilation, steps, strict=True)),
        channels // g.groups * padded.itemsize,
        padded.itemsize,
    ]
    rows = (padded.shape[1] - g.dilation[0] * (g.kernel[0] - 1) - 1) // g.stride[0] + 1
    shape = (n, rows, *g.out[1:], *g.kernel, g.groups, channels // g.groups)
    return np.ndarray(shape, padded.dtype, padded, 0, strides)


def columns(padded: Array, g: Geometry) -> Array:
    """(N, *padded lengths, C), contiguous -> (G, N * prod(out), prod(kernel) * C / G), the channel fastest (im2col)."""
    if g.pixelwise:
        return padded.reshape(1, -1, padded.shape[-1])
    seen = slide(padded, g)
    shape = g.groups, prod(seen.shape[: 1 + len(g.out)]), prod(g.kernel) * seen.shape[-1]
    if g.groups == g.dilation[-1] == 1:  # the taps of a row lie side by side: they are copied as one item
        row = np.dtype((np.void, g.kernel[-1] * seen.shape[-1] * seen.itemsize))
        rows = np.ndarray(seen.shape[:-3], row, padded, 0, seen.strides[:-3])
        return np.ascontiguousarray(rows).view(padded.dtype).reshape(shape)
    by_group = seen.transpose(seen.ndim - 2, *range(seen.ndim - 2), seen.ndim - 1)
    return by_group.reshape(shape)


def matrices(w: Array, groups: int) -> Array:
    """(M, C / G, *kernel) -> (G, prod(kernel) * C / G, M / G), rows in the order of ``columns``."""
    rows = np.moveaxis(w, 1, -1).reshape(groups, w.shape[0] // groups, w[0].size)
    return rows.transpose(0, 2, 1)
