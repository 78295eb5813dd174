"""From a step function of float32 to the cheapest integers that are it, for many channels at once (Chapter 9).

A step rises, or falls, through the codes as the accumulator grows. Its thresholds are found by asking it; then a line
is tried, a line with late codes, and what no line gives keeps its thresholds. All that is returned is proved first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.integers.certificate import prove
from qlearn.integers.forms import Form, Ints, Steps, Thresholds
from qlearn.integers.line import FREE, Points, late_lines, lines, roundest

__all__ = ["step_of", "steps_of", "thresholds"]

Function = Callable[[Ints], npt.NDArray[Any]]
Bools = npt.NDArray[np.bool_]
NEAR = 2  # accumulators around a guessed threshold that are asked first


def step_of(f: Function, low: int, high: int, codes: tuple[int, int] = (0, 255)) -> Form:
    """The cheapest exact integer form of a step function of one variable (Chapter 9).

    Args:
        f: int64 accumulators (n,) -> codes (n,), which rise as the accumulators do, or fall: that is taken for granted.
        low, high: the accumulators that can come; both ends are included.
        codes: the least and the largest code of the type, at most 255 apart: the form clips there.

    Returns:
        A Line, a LineLate or Thresholds, with ``codes(acc)``; equal to f at every accumulator from low to high.

    Raises:
        ValueError: low is above high, or one beyond 2**32; codes that are no such range, or f leaves it.
        Unproven: the certificate finds a difference: f neither rises nor falls throughout.
    """
    return steps_of(lambda acc: np.asarray(f(acc[:, 0]))[:, None], [low], [high], codes)[0]


def steps_of(
    f: Function, low: npt.ArrayLike, high: npt.ArrayLike, codes: tuple[int, int] = (0, 255), *, together: int = 1
) -> Steps:
    """``step_of`` for many channels: f takes (n, C), low and high are (C,).

    Args, raises: as ``step_of``, and together: how many neighbouring channels share M and S, where they have lines.
    """
    low, high = np.asarray(low, np.int64), np.asarray(high, np.int64)
    _check(low, high, codes)
    ends = np.asarray(f(np.stack([low, high]))).astype(np.int64)
    least, most = codes
    if ends.min() < least or ends.max() > most:
        raise ValueError(f"f must give codes from {least} to {most}, got {ends.min()} and {ends.max()}")
    sign = np.where(ends[1] < ends[0], -1, 1)  # where the codes fall, those of -acc rise
    lowest, highest = np.where(sign > 0, low, -high), np.where(sign > 0, high, -low)
    first, last = ends.min(axis=0), ends.max(axis=0)

    k = np.clip(np.arange(least + 1, most + 1)[:, None], np.minimum(first + 1, last), last)  # (K, C)
    T = thresholds(lambda acc: f(acc * sign), lowest, highest, k)
    found = _fitted(k, T, lowest, highest, first, last, codes, together)
    steps = Steps(low, high, found.M * sign, found.B, found.S, found.late, codes, {
        int(c): _cut(k[:, c], T[:, c], int(first[c]), int(low[c]), int(high[c]), falling=bool(sign[c] < 0))
        for c in np.flatnonzero(~found.found)
    })  # fmt: skip
    prove(steps, f)
    return steps


def thresholds(f: Function, low: Ints, high: Ints, k: Ints) -> Ints:
    """The smallest accumulator with f(acc) >= k, for codes k (K, C), f(low) < k <= f(high), in each column rising.

    The first and the last are found by bisection, those between guessed on the line through both. low where f is
    constant.
    """
    below, at = (np.broadcast_to(end, k.shape).copy() for end in (low, high))

    def ask(probe: Ints, rows: slice) -> None:
        probe = np.clip(probe, below[rows], at[rows])
        reached = f(probe) >= k[rows]
        at[rows] = np.where(reached, probe, at[rows])
        below[rows] = np.where(reached, below[rows], probe)

    def bisect(rows: slice) -> None:
        while (at[rows] - below[rows] > 1).any():
            ask((at[rows] + below[rows]) >> 1, rows)

    edges = slice(None, None, max(1, len(k) - 1))
    bisect(edges)
    if len(k) > 2:
        inner = slice(1, -1)
        share = (k[inner] - k[0]) / np.maximum(k[-1] - k[0], 1)
        guess = np.rint(at[0] + share * (at[-1] - at[0])).astype(np.int64)
        for nearby in (-NEAR, NEAR):
            ask(guess + nearby, inner)
        bisect(inner)
    return at


class _Fitted:
    """Lines, with their offset and their late codes, for the channels that have them."""

    def __init__(self, first: Ints, codes: tuple[int, int]) -> None:
        self.found = np.zeros(first.shape, np.bool_)
        self.M, self.B, self.S = (np.zeros_like(first) for _ in range(3))
        self.late = np.zeros((len(first), codes[1] - codes[0] + 1), np.bool_)


def _fitted(
    k: Ints, T: Ints, low: Ints, high: Ints, first: Ints, last: Ints, codes: tuple[int, int], together: int
) -> _Fitted:
    """The channels' lines; accumulators count from low, codes from first."""
    out, (least, most) = _Fitted(first, codes), codes
    flat, reach = first == last, np.maximum(np.abs(low), np.abs(high))

    def accept(channels: Ints, M: Ints, B: Ints, S: Ints) -> None:
        out.found[channels], out.M[channels], out.S[channels] = True, M, S
        out.B[channels] = B - M * low[channels] + (first[channels] << S)

    if together == 1 or not len(k):
        out.found[flat], out.B[flat] = True, first[flat]
    todo = np.flatnonzero(~out.found)
    if not todo.size:
        return out
    # The ends bind where their code is not the clip's; elsewhere a point that is there already stands for them. A
    # channel of one code has no other points: one far below the line, at its end, and one far over it, at its start.
    start, stop, span = first > least, last < most, high - low
    below = Points(
        np.concatenate([np.where(flat, span, T - low), np.where(start, 0, np.where(flat, span, T[-1] - low))[None]]),
        np.concatenate(
            [np.where(flat, -FREE, k - first), np.where(start, 0, np.where(flat, -FREE, last - first))[None]]
        ),
    )
    above = Points(
        np.concatenate(
            [np.where(flat, 0, T - 1 - low), np.where(stop, span, np.where(flat, 0, T[-1] - 1 - low))[None]]
        ),
        np.concatenate([np.where(flat, FREE, k - first), np.where(flat & ~stop, FREE, last - first + stop)[None]]),
    )
    line = lines(below.of(todo), above.of(todo), reach[todo], together)
    B, ok = roundest(line.least_B, line.most_B), line.found
    accept(todo[ok], line.M[ok], B[ok], line.S[ok])
    todo = todo[~ok]
    if todo.size:
        line, B, late = late_lines(below.of(todo), above.of(todo), reach[todo], together)
        ok = line.found
        accept(todo[ok], line.M[ok], B[ok], line.S[ok])
        point, channel = np.nonzero(late & ok)
        out.late[todo[channel], (above.code[:, todo] + first[todo])[point, channel] - least] = True
    return out


def _cut(k: Ints, T: Ints, first: int, low: int, high: int, *, falling: bool) -> Thresholds:
    """The thresholds of one channel, each code once."""
    once = np.flatnonzero(np.diff(k, prepend=first))
    return Thresholds(first, tuple(T[once].tolist()), low, high, falling)


def _check(low: Ints, high: Ints, codes: tuple[int, int]) -> None:
    if low.ndim != 1 or low.shape != high.shape:
        raise ValueError(f"low and high must have one shape (C,), got {low.shape} and {high.shape}")
    if (low > high).any():
        c = int(np.argmax(low > high))
        raise ValueError(f"low must not be above high, got {low[c]} and {high[c]}")
    if low.size and max(-int(low.min()), int(high.max())) > 2**32:
        raise ValueError(f"low and high must be within 2**32 of 0, got {low.min()} and {high.max()}")
    if not 0 <= codes[1] - codes[0] <= 255 or max(abs(code) for code in codes) > 255:
        raise ValueError(f"codes must be a least and a largest code, at most 255 apart, got {codes}")
