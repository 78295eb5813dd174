"""Where the windows of a convolution lie, and x as they see it (Chapter 7, Convolution)."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Geometry", "columns", "geometry", "lengths", "matrices", "pad", "slide"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
FEW = 8  # channels: they are quicker copied one after the other


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
    def padded(self) -> tuple[int, ...]:
        """The lengths of x with its padding."""
        return tuple(n + 2 * p for n, p in zip(self.lengths, self.padding, strict=True))

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


def pad(
    codes: Array, lengths: Shape, corner: Sequence[int], fill: int, dtype: npt.DTypeLike, *, less: int = 0
) -> Array:
    """(N, ..., C) -> (N, *lengths, C), contiguous: codes - less from a corner on, fill - less around them."""
    whole = np.full((len(codes), *lengths, codes.shape[-1]), fill, dtype)
    inner = whole[:, *(slice(start, start + n) for start, n in zip(corner, codes.shape[1:-1], strict=True))]
    for channels in range(codes.shape[-1]) if codes.shape[-1] < FEW else [slice(None)]:
        inner[..., channels] = codes[..., channels]
    if less:
        whole -= whole.dtype.type(less)
    return whole


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
