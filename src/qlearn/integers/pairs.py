"""Two codes that become one: a plane, a step of one sum, two tables, or the table of all pairs (Chapter 9).

There are 65,536 pairs of 8-bit codes, so each form is proved on all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import DTYPES
from qlearn.integers.certificate import Unproven
from qlearn.integers.forms import SHIFT_BITS, Form, Ints, Thresholds
from qlearn.integers.plane import plane
from qlearn.integers.steps import step_of

__all__ = ["Affine", "OfSum", "Pair", "Table", "TwoTables", "all_pairs", "check_dtype", "pair_of", "prove_pair"]

Function = Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]]
SHIFTS = range(13)
FREE = np.int64(2**40)
"""Further than any table's entry: no bound."""


@dataclass(frozen=True)
class Affine:
    """clip((a * M1 + b * M2 + C) >> S) (Chapter 9)."""

    M1: int
    M2: int
    C: int
    S: int
    clip: tuple[int, int] = (0, 255)

    def codes(self, a: npt.ArrayLike, b: npt.ArrayLike) -> Ints:
        """Of codes that broadcast, int64."""
        a, b = np.asarray(a, np.int64), np.asarray(b, np.int64)
        return np.asarray(np.clip((a * self.M1 + b * self.M2 + self.C) >> self.S, *self.clip))

    @property
    def bits(self) -> int:
        """Of the parameters: M1, M2, C with its sign, S."""
        return self.M1.bit_length() + self.M2.bit_length() + self.C.bit_length() + 1 + SHIFT_BITS


@dataclass(frozen=True)
class OfSum:
    """form.codes(a * M1 + b * M2): a step of one sum of small multiples, where there are ties (Chapter 9)."""

    M1: int
    M2: int
    form: Form

    def codes(self, a: npt.ArrayLike, b: npt.ArrayLike) -> Ints:
        """As ``Affine.codes``."""
        return self.form.codes(np.asarray(a, np.int64) * self.M1 + np.asarray(b, np.int64) * self.M2)

    @property
    def bits(self) -> int:
        """Of the parameters: M1, M2, and those of the form."""
        return self.M1.bit_length() + self.M2.bit_length() + self.form.bits


@dataclass(frozen=True, eq=False)
class TwoTables:
    """clip((A[a] + B[b]) >> S), the tables from the least code of the dtype on (Chapter 9)."""

    A: Ints
    B: Ints
    S: int
    least: int
    """The code of the tables' first entries: 0, or -128."""
    clip: tuple[int, int] = (0, 255)

    def codes(self, a: npt.ArrayLike, b: npt.ArrayLike) -> Ints:
        """As ``Affine.codes``."""
        A, B = self.A[np.asarray(a, np.int64) - self.least], self.B[np.asarray(b, np.int64) - self.least]
        return np.asarray(np.clip((A + B) >> self.S, *self.clip))

    @property
    def bits(self) -> int:
        """256 entries of both tables, as wide as the widest, with their sign; S."""
        widest = max(int(np.abs(table).max()) for table in (self.A, self.B)).bit_length() + 1
        return 512 * widest + SHIFT_BITS


@dataclass(frozen=True, eq=False)
class Table:
    """table[a, b]: any function of two codes (Chapter 9)."""

    table: Ints = field(repr=False)  # (256, 256)
    least: int
    """The code of the table's first row and column: 0, or -128."""

    def codes(self, a: npt.ArrayLike, b: npt.ArrayLike) -> Ints:
        """As ``Affine.codes``."""
        return self.table[np.asarray(a, np.int64) - self.least, np.asarray(b, np.int64) - self.least]

    @property
    def bits(self) -> int:
        """8 for each pair."""
        return 8 * self.table.size


Pair = Affine | OfSum | TwoTables | Table


def pair_of(f: Function, dtype: str, codes: tuple[int, int], multiples: tuple[int, int] | None = None) -> Pair:
    """The cheapest exact integer form of a function of two codes (Chapter 9).

    Args:
        f: codes (65536,) and (65536,), of the dtype -> codes (65536,).
        dtype: "quint8" or "qint8".
        codes: the least and the largest code that f gives: the form clips there.
        multiples: small integers, positive, in the ratio of both codes' steps, if there are any: a sum to look at.

    Raises:
        ValueError: f leaves codes.
    """
    a, b = all_pairs(dtype)
    first, (least, most) = int(a[0]), codes
    table = np.asarray(f(a, b)).astype(np.int64).reshape(256, 256)
    if table.min() < least or table.max() > most:
        raise ValueError(f"f must give codes from {least} to {most}, got {table.min()} and {table.max()}")
    form: Pair = Table(table, first)
    if rises(table):
        if found := plane(table, least, most):
            M1, M2, C, S = found
            form = Affine(M1, M2, C - first * (M1 + M2), S, codes)
        elif multiples and (sum_ := of_sum(table, first, codes, *multiples)):
            form = sum_
        elif tables := two_tables(table, least, most):
            form = TwoTables(*tables, first, codes)
    prove_pair(form, f, dtype)
    return form


def prove_pair(form: Pair, f: Function, dtype: str) -> int:
    """Compare a form with a function at all 65,536 pairs; how many they are.

    Raises:
        Unproven: names a pair, and both codes.
    """
    a, b = all_pairs(dtype)
    mine, wanted = form.codes(a, b), np.asarray(f(a, b)).astype(np.int64)
    if (different := np.flatnonzero(mine != wanted)).size:
        i = different[0]
        raise Unproven(f"codes {a[i]} and {b[i]} give {mine[i]}, where float32 gives {wanted[i]}: {form}")
    return mine.size


def all_pairs(dtype: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Every pair of codes of an 8-bit dtype, rising: the first ones, and the second ones (65536,)."""
    info = np.iinfo(DTYPES[dtype])
    codes = np.arange(info.min, info.max + 1).astype(DTYPES[dtype])
    return codes.repeat(256), np.tile(codes, 256)


def check_dtype(dtype: str) -> None:
    """Refuse qint32, which has too many codes."""
    if dtype not in ("quint8", "qint8"):
        raise NotImplementedError(f"dtype must be quint8 or qint8 for integers, got {dtype}")


def rises(table: Ints) -> bool:
    """Whether the codes never fall along an axis."""
    return bool((np.diff(table, axis=0) >= 0).all() and (np.diff(table, axis=1) >= 0).all())


def of_sum(table: Ints, first: int, codes: tuple[int, int], M1: int, M2: int) -> OfSum | None:
    """A step of a * M1 + b * M2, if the codes are a function of it that needs no thresholds."""
    each = np.arange(256)
    sums = each[:, None] * M1 + each * M2
    of_each = np.full(int(sums.max()) + 1, -FREE)
    of_each[sums] = table
    if not np.array_equal(of_each[sums], table) or (np.diff(known := np.maximum.accumulate(of_each)) < 0).any():
        return None
    low = first * (M1 + M2)
    form = step_of(lambda u: known[u - low], low, low + len(known) - 1, codes)
    return None if isinstance(form, Thresholds) else OfSum(M1, M2, form)


def two_tables(table: Ints, least: int, most: int) -> tuple[Ints, Ints, int] | None:
    """A, B and the smallest S with clip((A[a] + B[b]) >> S) = table[a, b]; None if no S up to 12 has any.

    Tables for some S, doubled, are tables for the next.
    """
    found = None
    low, high = 0, SHIFTS[-1] + 1  # those below low have none
    while low < high:
        S = (low + high) // 2 if found else SHIFTS[-1]
        if tables := summands(table, least, most, S):
            found, high = (*tables, S), S
        elif not found:
            return None
        else:
            low = S + 1
    return found


def summands(table: Ints, least: int, most: int, S: int) -> tuple[Ints, Ints] | None:
    """A and B with clip((A[a] + B[b]) >> S) = table[a, b].

    Each pair bounds A[a] + B[b] from below and above: differences of A[a] and -B[b], which the method of Bellman and
    Ford solves, or runs down without end.
    """
    low = np.where(table > least, table << S, -FREE)
    high = np.where(table < most, ((table + 1) << S) - 1, FREE)
    A, minus_B, deepest = np.zeros(256, np.int64), np.zeros(256, np.int64), -(2**10 << S)
    for _ in range(2 * 256):
        A_next = np.minimum(A, (minus_B + high).min(axis=1))
        minus_B_next = np.minimum(minus_B, (A_next[:, None] - low).min(axis=0))
        if np.array_equal(A, A_next) and np.array_equal(minus_B, minus_B_next):
            return A, -minus_B
        A, minus_B = A_next, minus_B_next
        if A.min() < deepest:
            return None
    return None
