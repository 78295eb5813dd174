"""Where the windows of a convolution lie, and the exact sums over each (Chapter 7, Convolution)."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.accumulate import sums_of_products
from qlearn.affine import QTensor
from qlearn.linear import w_zero_points

__all__ = ["Geometry", "accumulate", "columns", "geometry", "lengths", "matrices", "windows"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Geometry:
    """Where the windows of a convolution lie; one number for each spatial dimension."""

    lengths: tuple[int, ...]  # of x
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def out(self) -> tuple[int, ...]:
        """floor((length + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1."""
        each = zip(self.lengths, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in each)


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
    groups = _integer("groups", groups)
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


def accumulate(x: QTensor, weight: QTensor, g: Geometry) -> Ints:
    """The exact sums of (x - x_zero_point) * (w - w_zero_point), int32, shape (N, *out, M)."""
    centered = x.int_repr().astype(np.int16) - np.int16(x.q_zero_point())
    zero_points = w_zero_points(weight).reshape(-1, *[1] * (weight.ndim - 1))
    w = matrices(weight.int_repr() - zero_points, g)  # (G, K, M / G)
    seen = windows(centered, g, fill=0)  # (N, *out, *kernel, G, C / G)
    acc = sums_each_tap(seen, w, g) if weight.shape[1] == 1 else sums_of_products(columns(seen, g), w)
    return np.moveaxis(acc, 0, 1).reshape(x.shape[0], *g.out, weight.shape[0])


def sums_each_tap(seen: Array, w: Array, g: Geometry) -> Ints:
    """``sums_of_products(columns(seen), w)`` for one channel a group: too small for BLAS, so one tap at a time."""
    acc = np.zeros((*seen.shape[: 1 + len(g.out)], *w.shape[::2]), np.int32)  # (N, *out, G, M / G)
    for k, tap in enumerate(product(*map(range, g.kernel))):
        everywhere: tuple[slice | int, ...] = (slice(None),) * (1 + len(g.out))
        x = seen[everywhere + tap]  # (N, *out, G, 1)
        acc += np.multiply(x, w[:, k], dtype=np.int32)
    return np.moveaxis(acc.reshape(-1, *acc.shape[-2:]), 1, 0)


def windows(a: Array, g: Geometry, fill: int) -> Array:
    """(N, C, *lengths) -> (N, *out, *kernel, G, C / G): what each window sees, as a view of the padded array."""
    n, channels = a.shape[:2]
    padded = np.full((n, *(s + 2 * p for s, p in zip(g.lengths, g.padding, strict=True)), channels), fill, a.dtype)
    inner = tuple(slice(p, p + s) for s, p in zip(g.lengths, g.padding, strict=True))
    padded[(slice(None), *inner)] = np.moveaxis(a, 1, -1)
    steps = padded.strides[1:-1]
    strides = [
        padded.strides[0],
        *(s * step for s, step in zip(g.stride, steps, strict=True)),
        *(d * step for d, step in zip(g.dilation, steps, strict=True)),
        channels // g.groups * a.itemsize,
        a.itemsize,
    ]
    shape = (n, *g.out, *g.kernel, g.groups, channels // g.groups)
    return np.lib.stride_tricks.as_strided(padded, shape, strides, writeable=False)


def columns(seen: Array, g: Geometry) -> Array:
    """(N, *out, *kernel, G, C / G) -> (G, N * prod(out), prod(kernel) * C / G), the channel fastest (im2col)."""
    by_group = np.moveaxis(seen, -2, 0)
    return by_group.reshape(g.groups, seen.shape[0] * prod(g.out), prod(g.kernel) * seen.shape[-1])


def matrices(w: Array, g: Geometry) -> Array:
    """(M, C / G, *kernel) -> (G, prod(kernel) * C / G, M / G), rows in the order of ``columns``."""
    rows = np.moveaxis(w, 1, -1).reshape(g.groups, w.shape[0] // g.groups, w[0].size)
    return rows.transpose(0, 2, 1)
