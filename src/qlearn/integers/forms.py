"""What stands in the place of a rounding: a line, a line with late codes, or thresholds (Chapter 9, Integers only).

Each turns an integer, an accumulator as a rule, into a code, with integers alone: int64 holds every number on the way
for every accumulator from ``low`` to ``high``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Form", "Line", "LineLate", "Steps", "Thresholds"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
SHIFT_BITS = 6  # of S, which is below 64


@dataclass(frozen=True)
class Line:
    """clip((acc * M + B) >> S): a digital straight line (Chapter 9).

    Args:
        M, B, S: of the line; M is negative where the codes fall.
        low, high: the accumulators for which it was proved.
        clip: the least and the largest code.
    """

    M: int
    B: int
    S: int
    low: int
    high: int
    clip: tuple[int, int] = (0, 255)

    def codes(self, acc: npt.ArrayLike) -> Ints:
        """Of accumulators of any shape, int64."""
        return np.asarray(np.clip((np.asarray(acc, np.int64) * self.M + self.B) >> self.S, *self.clip))

    @property
    def bits(self) -> int:
        """Of the parameters: M, B with its sign, S."""
        return self.M.bit_length() + self.B.bit_length() + 1 + SHIFT_BITS


@dataclass(frozen=True)
class LineLate(Line):
    """A line with late codes, whose first accumulator still has the code below (Chapter 9).

    v = acc * M + B; q = v >> S; where v mod 2**S < abs(M), v is the first with this q, and if q is late, q - 1; clip.

    Args:
        late: the late codes, rising.
    """

    late: tuple[int, ...] = ()

    def codes(self, acc: npt.ArrayLike) -> Ints:
        """As ``Line.codes``."""
        v = np.asarray(acc, np.int64) * self.M + self.B
        q, first = v >> self.S, v & ((1 << self.S) - 1) < abs(self.M)
        return np.asarray(np.clip(q - (first & np.isin(q, self.late)), *self.clip))

    @property
    def bits(self) -> int:
        """Of the parameters, with 8 for each late code."""
        return super().bits + 8 * len(self.late)


@dataclass(frozen=True)
class Thresholds:
    """first + the number of thresholds that acc reaches: any step (Chapter 9).

    Args:
        first: the code below all thresholds.
        at: the thresholds, rising; one that is there twice skips a code. Where the codes fall, of -acc.
        low, high: as of ``Line``.
        falling: whether the codes fall.
    """

    first: int
    at: tuple[int, ...]
    low: int
    high: int
    falling: bool = False

    def codes(self, acc: npt.ArrayLike) -> Ints:
        """As ``Line.codes``."""
        a = np.asarray(acc, np.int64)
        return self.first + np.searchsorted(np.array(self.at, np.int64), -a if self.falling else a, side="right")

    @property
    def bits(self) -> int:
        """32 for each threshold, 8 for the first code."""
        return 8 + 32 * len(self.at)


Form = Line | LineLate | Thresholds


@dataclass(frozen=True, eq=False)
class Steps:
    """The forms of many channels, as arrays (Chapter 9). ``steps[c]`` is a ``Form``.

    Args:
        low, high: the accumulators of each channel, int64 (C,).
        M, B, S: of the lines, int64 (C,); 0 where a channel has thresholds.
        late: bool (C, codes), a column for each code of clip.
        clip: the least and the largest code.
        thresholds: by channel, where no line will do.
    """

    low: Ints
    high: Ints
    M: Ints
    B: Ints
    S: Ints
    late: Bools
    clip: tuple[int, int]
    thresholds: Mapping[int, Thresholds]

    def codes(self, acc: npt.ArrayLike, channel: Ints | None = None) -> Ints:
        """Codes of accumulators (..., C), int64; each channel as its own form gives them.

        Args:
            acc: integers.
            channel: whose form each takes, of acc's shape; None is that of its place on the last axis.
        """
        acc = np.asarray(acc, np.int64)
        least, most = self.clip
        at = slice(None) if channel is None else channel
        v = acc * self.M[at]
        v += self.B[at]
        q = v >> self.S[at]
        if self.late.any():
            v &= self._mask[at]
            first = np.nonzero(v < self._reach[at])
            whose = first[-1] if channel is None else channel[first]
            q[first] -= self.late[whose, np.clip(q[first], least, most) - least]
        np.clip(q, least, most, out=q)
        for c, form in self.thresholds.items():
            where = (..., c) if channel is None else channel == c
            q[where] = form.codes(acc[where])
        return q

    @cached_property
    def _mask(self) -> Ints:
        return np.asarray((np.int64(1) << self.S) - 1)

    @cached_property
    def _reach(self) -> Ints:
        """v mod 2**S is below this at the first accumulator of a code; 0 where no code is late."""
        return np.where(self.late.any(axis=1), np.abs(self.M), 0)

    def __len__(self) -> int:
        return len(self.M)

    def __getitem__(self, channel: int) -> Form:
        c = range(len(self))[channel]
        if c in self.thresholds:
            return self.thresholds[c]
        M, B, S, low, high = (int(a[c]) for a in (self.M, self.B, self.S, self.low, self.high))
        late = np.flatnonzero(self.late[c]) + self.clip[0]
        if not len(late):
            return Line(M, B, S, low, high, self.clip)
        return LineLate(M, B, S, low, high, self.clip, tuple(late.tolist()))

    def __iter__(self) -> Iterator[Form]:
        return (self[c] for c in range(len(self)))

    @classmethod
    def of(cls, form: Form) -> Steps:
        """One form as the steps of one channel."""
        low, high = (np.array([end], np.int64) for end in (form.low, form.high))
        if isinstance(form, Thresholds):
            none, clip = np.zeros(1, np.int64), (form.first, form.first + len(form.at))
            late = np.zeros((1, len(form.at) + 1), np.bool_)
            return cls(low, high, none, none, none, late, clip, {0: form})
        M, B, S = (np.array([number], np.int64) for number in (form.M, form.B, form.S))
        late = np.isin(np.arange(form.clip[0], form.clip[1] + 1), getattr(form, "late", ()))[None]
        return cls(low, high, M, B, S, late, form.clip, {})

    def count(self) -> dict[str, int]:
        """How many channels have each form."""
        late = int(self.late.any(axis=1).sum())
        many = len(self.thresholds)
        return {"line": len(self) - late - many, "late": late, "thresholds": many}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of it as arrays, for a file."""
        forms = self.thresholds.items()
        return {
            **{name: getattr(self, name) for name in ("low", "high", "M", "B", "S")},
            "late": np.packbits(self.late, axis=1),
            "clip": np.array(self.clip),
            "cut": np.array([[c, form.first, form.falling, len(form.at)] for c, form in forms], np.int64).reshape(
                -1, 4
            ),
            "at": np.array([t for _, form in forms for t in form.at], np.int64),
        }

    @classmethod
    def joined(cls, parts: Sequence[Steps]) -> Steps:
        """The channels of several, which share their clip, one after the other."""
        names = ("low", "high", "M", "B", "S", "late")
        low, high, M, B, S, late = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
        starts = np.cumsum([0, *(len(part) for part in parts)])
        thresholds = {
            int(start) + c: form
            for start, part in zip(starts[:-1], parts, strict=True)
            for c, form in part.thresholds.items()
        }
        return cls(low, high, M, B, S, late, parts[0].clip, thresholds)

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Steps:
        """What ``arrays`` gave."""
        low, high, M, B, S = (np.asarray(arrays[name], np.int64) for name in ("low", "high", "M", "B", "S"))
        least, most = (int(code) for code in arrays["clip"])
        late = np.unpackbits(arrays["late"], axis=1, count=most - least + 1).astype(np.bool_)
        thresholds, start = {}, 0
        for c, first, falling, n in arrays["cut"].tolist():
            at = tuple(arrays["at"][start : start + n].tolist())
            thresholds[c] = Thresholds(first, at, int(low[c]), int(high[c]), bool(falling))
            start += n
        return cls(low, high, M, B, S, late, (least, most), thresholds)
