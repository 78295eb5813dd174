"""line.py: R < 1 and R < 2 decide, S is the smallest and M the only one, against brute force."""

from fractions import Fraction

import numpy as np
import pytest

from qlearn.integers import LineLate, Thresholds, spread, step_of
from qlearn.integers.line import roundest

SHIFTS = range(8)  # a slope between two fractions with denominators up to 10 is found with 2**7


def brute_force(T: np.ndarray, late: int) -> tuple[int, int] | None:
    """The smallest S, and M, of a line whose thresholds are T, or late by up to ``late``; every B is tried."""
    k = np.arange(1, len(T) + 1)
    for S in SHIFTS:
        M = np.arange(1, 2**S * 2 + 1)[:, None, None]
        B = np.arange(-(2**S) * 40, 2**S * len(T))[None, :, None]
        off = T - -((B - (k << S)) // M)  # (M, B, K)
        fits = ((off >= 0) & (off <= late)).all(axis=2).any(axis=1)
        if fits.any():
            return S, int(M[np.argmax(fits), 0, 0])
    return None


def test_a_strip_below_1_has_a_line_and_below_2_one_with_late_codes(rng: np.random.Generator) -> None:
    """Of rising thresholds; a line has the S and the M that brute force finds first."""
    kinds = []
    for _ in range(60):
        T = np.cumsum(rng.integers(1, rng.integers(2, 5), 4))
        form = step_of(lambda acc, T=T: np.searchsorted(T, acc, side="right"), int(T[0]) - 4, int(T[-1]) + 4, (0, 4))
        R = spread(range(1, 5), T)
        assert (type(form).__name__ == "Line") == (R < 1), (T, R, form)
        assert isinstance(form, Thresholds) == (R >= 2), (T, R, form)
        found = brute_force(T, int(R >= 1))
        assert (found is None) == isinstance(form, Thresholds)
        assert R >= 1 or found == (form.S, form.M), (T, R, form)
        kinds.append(type(form).__name__)
    assert {"Line", "LineLate"} <= set(kinds)


def test_spread() -> None:
    """Every slope is tried among fractions; a straight row of points has none."""
    T = [3, 4, 9, 11]
    tried = {Fraction(p, q) for q in range(1, 13) for p in range(1, 6 * q)}
    heights = [max(k * x - t for k, t in enumerate(T)) - min(k * x - t for k, t in enumerate(T)) for x in tried]
    assert spread(range(4), T) == min(heights) == 2
    assert spread([1, 2, 7], [10, 13, 28]) == 0 == spread([5], [1])
    with pytest.raises(ValueError, match="one for each code, and at least one, got 1 for 2"):
        spread([1, 2], [3])


def test_ties_to_even_are_late_codes_of_one_parity() -> None:
    """rint(acc / 4): a tie goes up to even codes; the line sends it up to all, so the odd ones are late."""
    form = step_of(lambda acc: np.clip(np.rint(acc / 4), 0, 255), -50, 2000)
    assert isinstance(form, LineLate)
    assert form.late == tuple(range(1, 256, 2)) and (form.M, form.S) == (1, 2)


def test_roundest() -> None:
    least, most = (np.array(values) for values in ([-5, 17, -100, 2**40 + 1, 7], [9, 25, -65, 2**40 + 5, 7]))
    assert roundest(least, most).tolist() == [0, 24, -96, 2**40 + 4, 7]
