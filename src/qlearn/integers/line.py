"""The straight line through a staircase: the smallest integers that draw it (Chapter 9, Integers only).

A line acc * M + B, read in units of 2**S, gives a step its codes if it is at or above code k at each accumulator where
the step has reached k, and below k at each where it has not. So it separates two sets of points (acc, code). With the
slope m = M / 2**S, the room that is left for the offset,

    room(m) = min over the points above of (code - m * acc) - max over those below of (code - m * acc),

is concave and made of straight pieces. Newton's method from outside finds both ends of {m: room(m) > 0} exactly, in a
few steps, with integers. The smallest S is the first for which an integer M lies between them; that M is the only one.

In terms of accumulators per code, x = 1 / m, and thresholds T_k: a line exists if and only if ``spread``,
R = min over x of max_k (k * x - T_k) - min_k (k * x - T_k), is below 1. Where no step skips a code, one with late codes
exists if and only if R is below 2. (The ends of the range add a point each.)

Nearest relatives: the digital straight lines of Rosenfeld and Reveilles; libdivide, after Granlund and Montgomery,
which divides by one number with M, B and S; RLIBM, which fits a polynomial to all rounded results at once.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Lines", "Points", "late_codes", "lines", "one_later", "roundest", "spread"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SHIFTS = range(52)
"""S; with codes below 2**9 in magnitude, k << S stays below 2**60."""
REACH = 2.0**60
"""abs(M * acc), at most: then every number on the way stays below 2**63."""
STEEP = 512
"""Codes an accumulator, more than between any two points: the slope that Newton's method comes down from."""


class Points(NamedTuple):
    """Points of many channels: (n, C) each. A point may be there twice."""

    acc: Ints
    """Counted from the channel's lowest accumulator: below 2**33."""
    code: Ints
    """Counted from the channel's first code: at most 258."""

    def of(self, channels: Bools | Ints) -> Points:
        """Those of some channels."""
        return Points(self.acc[:, channels], self.code[:, channels])


class Lines(NamedTuple):
    """A line for each channel that has one: (C,) each."""

    found: Bools
    M: Ints
    least_B: Ints
    most_B: Ints
    S: Ints


def lines(below: Points, above: Points, reach: Ints) -> Lines:
    """The lines with the smallest S that are at or over the points below, and under those above, (C,).

    Args:
        below, above: such that some line through them rises, and none is flat.
        reach: the largest accumulator, in magnitude, that a line will be applied to.
    """
    p, q, found = end(below, above, rising=True)
    p_end, q_end, alive = end(below, above, rising=False)
    found &= alive & (p * q_end < p_end * q)  # below 2**9 * 2**33
    M, S = np.zeros_like(p), np.zeros_like(p)
    open_ = found.copy()
    for shift in SHIFTS:
        first = (p << shift) // q + 1  # p << shift is below 2**60
        fits = open_ & (first * q_end < p_end << shift)
        M[fits], S[fits] = first[fits], shift
        open_ &= ~fits
    found &= ~open_ & (M.astype(np.float64) * reach < REACH)
    M, S = np.where(found, M, 0), np.where(found, S, 0)
    least = ((below.code << S) - M * below.acc).max(axis=0)
    most = ((above.code << S) - M * above.acc).min(axis=0) - 1
    return Lines(found, M, least, most, S)


def end(below: Points, above: Points, *, rising: bool) -> tuple[Ints, Ints, Bools]:
    """The lower (rising) or the upper end p / q of the slopes with room, and whether there are any: (C,) each.

    Newton's method on room(m): from a slope without room to the zero of the straight piece there, which lies between it
    and the end. p is at most 512, q below 2**33 + 1, so the products are below 2**44.
    """
    channels = below.acc.shape[1]
    p = np.full(channels, 0 if rising else STEEP, np.int64)
    q = np.ones(channels, np.int64)
    alive = np.ones(channels, np.bool_)
    going = np.arange(channels)
    while going.size:
        low, high = (points if going.size == channels else points.of(going) for points in (below, above))
        each = np.arange(going.size)
        i = (q[going] * low.code - p[going] * low.acc).argmax(axis=0), each
        j = (q[going] * high.code - p[going] * high.acc).argmin(axis=0), each
        run, rise = low.acc[i] - high.acc[j], low.code[i] - high.code[j]
        room = p[going] * run - q[going] * rise
        lacking = room < 0
        leads = (run > 0 if rising else run < 0) & (rise * np.sign(run) >= 0)
        alive[going[lacking & ~leads]] = False
        on = lacking & leads
        going = going[on]
        p[going], q[going] = np.abs(rise[on]), np.abs(run[on])
    return p, q, alive


def one_later(above: Points) -> Points:
    """The points above for lines with late codes, which may be too early by one accumulator, but not by a code."""
    return Points(np.concatenate([above.acc - 1, above.acc]), np.concatenate([above.code, above.code + 1]))


def late_codes(above: Points, found: Lines) -> tuple[Ints, Bools]:
    """The offset B, and which of the points above have their code late: (C,) and (n, C).

    The fewest are late with the smallest B; from there on B may grow until one more would be.
    """
    B_when_late = (above.code << found.S) - found.M * above.acc  # (n, C)
    more = np.where(B_when_late > found.least_B, B_when_late, np.iinfo(np.int64).max).min(axis=0)
    B = roundest(found.least_B, np.minimum(found.most_B, more - 1))
    return B, B_when_late <= B


def roundest(least: Ints, most: Ints) -> Ints:
    """Of the integers from least to most, the one with most zeros at the end of its bits; both below 2**62."""
    best, open_ = least.copy(), np.ones(least.shape, np.bool_)
    for zeros in range(62, -1, -1):
        multiple = -(-least >> zeros) << zeros
        fits = open_ & (multiple <= most)
        best[fits] = multiple[fits]
        open_ &= ~fits
    return best


def spread(codes: npt.ArrayLike, thresholds: npt.ArrayLike) -> Fraction:
    """R = min over x of max_k (k * x - T_k) - min_k (k * x - T_k), exactly, of one channel (Chapter 9).

    It is the height of the thinnest strip, of any slope, that holds the points (k, T_k). The minimum lies at a slope of
    the edges of their hull.

    Args:
        codes: k, rising, integers of shape (n,), n >= 1.
        thresholds: T_k, of the same shape.

    Raises:
        ValueError: there are none, or their shapes differ.
    """
    ks, ts = ([int(v) for v in np.asarray(values).ravel()] for values in (codes, thresholds))
    if not ks or len(ks) != len(ts):
        raise ValueError(f"thresholds must be one for each code, and at least one, got {len(ts)} for {len(ks)}")
    points = list(zip(ks, ts, strict=True))
    slopes = {x for sign in (1, -1) for x in _edges([(k, sign * t) for k, t in points], sign)} or {Fraction(0)}

    def height(x: Fraction) -> Fraction:
        over = [k * x.numerator - t * x.denominator for k, t in points]
        return Fraction(max(over) - min(over), x.denominator)

    return min(height(x) for x in slopes)


def _edges(points: list[tuple[int, int]], sign: int) -> list[Fraction]:
    """The slopes of the lower hull, times sign."""
    hull: list[tuple[int, int]] = []
    for k, t in points:
        while len(hull) > 1 and _turns_down(hull[-2], hull[-1], (k, t)):
            hull.pop()
        hull.append((k, t))
    return [sign * Fraction(t1 - t0, k1 - k0) for (k0, t0), (k1, t1) in pairwise(hull)]


def _turns_down(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) <= (b[1] - a[1]) * (c[0] - a[0])
