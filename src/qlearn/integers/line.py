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

__all__ = ["FREE", "Lines", "Points", "late_lines", "lines", "roundest", "spread"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SHIFTS = range(50)
"""S; with codes below 2**10 in magnitude, k << S stays below 2**60."""
FINER = range(14)
"""How much larger than the smallest S that of a line with late codes may be, to have fewer of them."""
REACH = 2.0**60
"""abs(M * acc), at most: then every number on the way stays below 2**63."""
STEEP = 512
"""Codes an accumulator, more than between any two points: the slope that Newton's method comes down from."""


FREE = 600
"""Codes from the first one, down or up: a point so far away binds no line."""


class Points(NamedTuple):
    """Points of many channels: (n, C) each. A point may be there twice."""

    acc: Ints
    """Counted from the channel's lowest accumulator: below 2**33."""
    code: Ints
    """Counted from the channel's first code: at most 258; or ``FREE`` away from it."""

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


def lines(below: Points, above: Points, reach: Ints, together: int = 1) -> Lines:
    """The lines with the smallest S that are at or over the points below, and under those above, (C,).

    Args:
        together: how many neighbouring channels share M and S.
        below, above: such that some line through them rises, and none is flat.
        reach: the largest accumulator, in magnitude, that a line will be applied to.
    """
    p, q, found = end(below, above, rising=True)
    p_end, q_end, alive = end(below, above, rising=False)
    if together > 1:
        found, alive = (np.repeat(each.reshape(-1, together).all(axis=1), together) for each in (found, alive))
        (p, q), (p_end, q_end) = shared(p, q, together, 1), shared(p_end, q_end, together, -1)
    found &= alive & (p * q_end < p_end * q)  # below 2**10 * 2**33
    M, S = np.zeros_like(p), np.zeros_like(p)
    open_ = found.copy()
    for shift in SHIFTS:
        first = (p << shift) // q + 1  # p << shift is below 2**60
        fits = open_ & (first * q_end < p_end << shift)
        M[fits], S[fits] = first[fits], shift
        open_ &= ~fits
    found &= ~open_ & (M.astype(np.float64) * reach < REACH)
    M, S = np.where(found, M, 0), np.where(found, S, 0)
    return Lines(found, M, under(below, M, S).max(axis=0), under(above, M, S).min(axis=0) - 1, S)


def end(below: Points, above: Points, *, rising: bool) -> tuple[Ints, Ints, Bools]:
    """The lower (rising) or the upper end p / q of the slopes with room, and whether there are any: (C,) each.

    Newton's method on room(m): from a slope without room to the zero of the straight piece there, which lies between it
    and the end. p is at most 512, q below 2**33 + 1, a code 600: the products are below 2**44.
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


def shared(p: Ints, q: Ints, together: int, sign: int) -> tuple[Ints, Ints]:
    """The largest (sign 1) or the smallest (-1) of the fractions p / q of so many neighbours, for all of them."""
    p, q = p.reshape(-1, together), q.reshape(-1, together)
    best_p, best_q = p[:, 0].copy(), q[:, 0].copy()
    for i in range(1, together):
        better = sign * (p[:, i] * best_q - best_p * q[:, i]) > 0
        best_p, best_q = np.where(better, p[:, i], best_p), np.where(better, q[:, i], best_q)
    return np.repeat(best_p, together), np.repeat(best_q, together)


def late_lines(below: Points, above: Points, reach: Ints, together: int = 1) -> tuple[Lines, Ints, Bools]:
    """Lines with few late codes, their offsets B, and which of the points above have their code late: (n, C).

    Such a line may be at or over a point above, too early by one accumulator, but not by a code. Of the slopes with
    2**-S near that which leaves the points most room, the one is taken whose parameters have the fewest bits: a late
    code counts 8, and S counts twice, in M and in B.

    Args, returns: as ``lines``.
    """
    early = Points(np.concatenate([above.acc - 1, above.acc]), np.concatenate([above.code, above.code + 1]))
    first = lines(below, early, reach, together)
    middle, most = roomiest(below, above, together), reach.astype(np.float64)
    found, bits = first, np.full(reach.shape, np.iinfo(np.int64).max)
    for finer in FINER:
        S = np.minimum(first.S + finer, SHIFTS[-1])
        nearest = np.rint(middle * 2.0**S).astype(np.int64)
        for M in (nearest - 1, nearest, nearest + 1, *([] if finer else [first.M])):
            least, when_late = under(below, M, S).max(axis=0), under(above, M, S)
            ends = when_late.min(axis=0) + np.minimum(M, 1 << S) - 1  # of early's points
            cost = 8 * (when_late <= least).sum(axis=0) + 2 * S
            fits = first.found & (least <= ends) & (M * most < REACH) & (M > 0)
            if together > 1:
                cost = np.repeat(cost.reshape(-1, together).sum(axis=1), together)
                fits = np.repeat(fits.reshape(-1, together).all(axis=1), together)
            better = fits & (cost < bits)
            bits = np.where(better, cost, bits)
            chosen = zip((M, least, ends, S), found[1:], strict=True)
            found = Lines(first.found, *(np.where(better, new, old) for new, old in chosen))
    B_when_late = under(above, found.M, found.S)  # (n, C)
    more = np.where(B_when_late > found.least_B, B_when_late, np.iinfo(np.int64).max).min(axis=0)
    B = roundest(found.least_B, np.minimum(found.most_B, more - 1))
    return found, B, B_when_late <= B


def roomiest(below: Points, above: Points, together: int = 1) -> npt.NDArray[np.float64]:
    """The slope at which room(m) is largest, to 2**-40 of it or so: where its pieces turn from rising to falling.

    Of several channels that share it, the room is that of the one with the least.
    """
    each = np.arange(below.acc.shape[1])
    low, high = np.zeros(each.size), np.full(each.size, float(STEEP))
    for _ in range(50):
        m = (low + high) / 2
        up, down = below.code - m * below.acc, above.code - m * above.acc
        i, j = up.argmax(axis=0), down.argmin(axis=0)
        rises = below.acc[i, each] > above.acc[j, each]
        if together > 1:
            tightest = (down[j, each] - up[i, each]).reshape(-1, together).argmin(axis=1)
            rises = np.repeat(rises.reshape(-1, together)[np.arange(tightest.size), tightest], together)
        low, high = np.where(rises, m, low), np.where(rises, high, m)
    return low


def under(points: Points, M: Ints, S: Ints) -> Ints:
    """The offset B with which the line of slope M / 2**S goes through each point, (n, C)."""
    return (points.code << S) - M * points.acc


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
