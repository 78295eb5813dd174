"""The plane through a staircase of two codes: the smallest integers that draw it (Chapter 9, Integers only).

As ``line``, with two slopes: (a * M1 + b * M2 + C) >> S gives the codes if it is at or over code k at each pair (a, b)
that has reached k, and below it at each that has not. The room that slopes leave for the offset is concave again; where
it is positive is a polygon. It is cut out of a square, a straight line for each corner that has no room; then the first
S is taken that has two integers in it. The cuts are made in float64; what is returned fits exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qlearn.integers.forms import Ints
from qlearn.integers.line import roundest

__all__ = ["Plane", "plane"]

Floats = npt.NDArray[np.float64]
SHIFTS = range(31)
CUTS = 300
STEEP = 512.0
TOUCHES = 1e-9
"""Codes: a corner with so little room lacking is a corner of the polygon."""
TRIED = 32
"""Integers M1, or M2, that are tried for one S."""


class Plane(NamedTuple):
    """(a * M1 + b * M2 + C) >> S."""

    M1: int
    M2: int
    C: int
    S: int


def plane(table: Ints, least: int, most: int) -> Plane | None:
    """The plane with the smallest S whose codes, clipped from least to most, are table[a, b]; None if there is none.

    Args:
        table: int64 (256, 256); along each axis the codes never fall.
    """
    below, above = corners(table, least), 255 - corners(most - table[::-1, ::-1], 0)
    k, over = table[tuple(below.T)], table[tuple(above.T)] + 1  # what the pairs have reached, what they have not
    if not len(below) or not len(above):
        return Plane(0, 0, most if len(below) else least, 0)
    polygon = cut(below, k, above, over)
    for S in SHIFTS:
        for M in within(polygon * 2.0**S):
            lowest = ((k << S) - below @ M).max()
            highest = ((over << S) - above @ M).min() - 1
            if lowest <= highest:
                C = roundest(np.array([lowest]), np.array([highest]))
                return Plane(int(M[0]), int(M[1]), int(C[0]), S)
    return None


def corners(table: Ints, least: int) -> Ints:
    """The pairs above the least code whose neighbours with a smaller a, or b, have a smaller code: (n, 2).

    Where no slope is negative, no other pair can lack height.
    """
    left = np.concatenate([np.full((1, 256), -1), table[:-1]])
    under = np.concatenate([np.full((256, 1), -1), table[:, :-1]], axis=1)
    return np.argwhere((table > least) & (left < table) & (under < table))


def cut(below: Ints, k: Ints, above: Ints, over: Ints) -> Floats:
    """The corners of the polygon of slopes that leave room for an offset: (n, 2), in order; (0, 2) if there is none."""
    polygon: Floats = np.array([[0, 0], [STEEP, 0], [STEEP, STEEP], [0, STEEP]])
    lows, highs = below.astype(np.float64), above.astype(np.float64)
    for _ in range(CUTS):
        up, down = k[:, None] - lows @ polygon.T, over[:, None] - highs @ polygon.T  # (n, corners)
        room = down.min(axis=0) - up.max(axis=0)
        worst = int(room.argmin())
        if room[worst] >= -TOUCHES:
            break
        i, j = int(up[:, worst].argmax()), int(down[:, worst].argmin())
        polygon = clip(polygon, lows[i] - highs[j], float(over[j] - k[i]))
        if not len(polygon):
            break
    return polygon


def clip(polygon: Floats, normal: Floats, offset: float) -> Floats:
    """The part of a convex polygon where m @ normal + offset >= 0 (Sutherland and Hodgman)."""
    height, kept = polygon @ normal + offset, []
    for i, (p, h) in enumerate(zip(polygon, height, strict=True)):
        before, b = polygon[i - 1], height[i - 1]
        if (h >= 0) != (b >= 0):
            kept.append(before + (p - before) * (b / (b - h)))
        if h >= 0:
            kept.append(p)
    return np.array(kept).reshape(-1, 2)


def within(polygon: Floats) -> Iterator[Ints]:
    """Pairs of integers in a polygon, or less than one away from it where it is thin; the middle of each column."""
    if not len(polygon):
        return
    x = polygon[:, 0]
    for M1 in some_integers(x.min(), x.max()):
        column = clip(clip(polygon, np.array([1.0, 0]), 0.5 - M1), np.array([-1.0, 0]), M1 + 0.5)
        y = (column if len(column) else polygon)[:, 1]
        for M2 in some_integers(y.min(), y.max()):
            yield np.array([M1, M2])


def some_integers(low: float, high: float) -> list[int]:
    """All integers from low to high, the middle ones if they are too many, and the nearest if there is none."""
    first, last = int(np.ceil(low)), int(np.floor(high))
    if first > last:
        return [first, last]
    start = first + max(0, last - first + 1 - TRIED) // 2
    return list(range(start, min(last, start + TRIED - 1) + 1))
