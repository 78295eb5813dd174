"""The certificate: that integers are the float32 step, recomputed (Chapter 9, Integers only).

Both sides only rise, or only fall. So the integers have runs of accumulators with one code, at most 256 of them, and
where float32 gives that code at both ends of a run, it gives it in between. T_k, T_k - 1 and both ends of the range are
looked at: some 500 accumulators prove millions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.integers.forms import Form, Ints, Steps

__all__ = ["Unproven", "prove", "prove_form", "starts_of_runs"]


class Unproven(ValueError):
    """Integers that are not proved to be what they stand for."""


def prove(steps: Steps, f: Callable[[Ints], npt.NDArray[Any]]) -> int:
    """Prove that steps are f, from low to high of each channel; how many points it took (Chapter 9).

    What is taken for granted is that f rises with the accumulator, or falls: each step of it does, in float32 too, and
    that of the integers follows from their formulas. That the runs of the integers begin where they are said to is
    checked with the rest.

    Args:
        steps: the integers.
        f: accumulators (n, C) -> codes (n, C).

    Raises:
        Unproven: names the channel, an accumulator, and both codes there.
    """
    _check_size(steps)
    starts = starts_of_runs(steps)  # (K, C)
    sign = np.where(_falls(steps), -1, 1)
    before = np.clip(starts - sign, steps.low, steps.high)
    points = np.concatenate([steps.low[None], steps.high[None], starts, before])
    mine, wanted = steps.codes(points), np.asarray(f(points)).astype(np.int64)
    different = mine != wanted
    if different.any():
        i, c = (int(where[0]) for where in np.nonzero(different))
        raise Unproven(
            f"channel {c} gives code {mine[i, c]} for accumulator {points[i, c]}, where float32 gives {wanted[i, c]}: "
            f"{steps[c]}"
        )
    _check_runs(steps, points, mine)
    return int(points.size)


def prove_form(form: Form, f: Callable[[Ints], npt.NDArray[Any]]) -> int:
    """``prove`` for one form: f takes accumulators (n,).

    Returns, raises: as ``prove``.
    """
    return prove(Steps.of(form), lambda acc: np.asarray(f(acc[:, 0]))[:, None])


def starts_of_runs(steps: Steps) -> Ints:
    """Where the integers come to each code of the clip but the lowest, within low and high: (K, C).

    In the direction in which the codes rise.
    """
    least, most = steps.clip
    k = np.arange(least + 1, most + 1)[:, None]
    falls = _falls(steps)
    sign = np.where(falls, -1, 1)
    with np.errstate(divide="ignore"):
        M = np.abs(steps.M)
        at = -((steps.B - (k << steps.S)) // np.where(M == 0, 1, M)) + steps.late[:, 1:].T
    for c, form in steps.thresholds.items():
        column = np.array((*form.at[: len(k)], *[2**40] * (len(k) - len(form.at))), np.int64)
        at[:, c] = column
    low, high = np.where(falls, -steps.high, steps.low), np.where(falls, -steps.low, steps.high)
    return np.asarray(np.clip(at, low, high) * sign)


def _falls(steps: Steps) -> npt.NDArray[np.bool_]:
    falls = steps.M < 0
    for c, form in steps.thresholds.items():
        falls[c] = form.falling
    return falls


def _check_runs(steps: Steps, points: Ints, codes: Ints) -> None:
    """Refuse integers that change their code between two neighbouring points that are not side by side."""
    order = np.argsort(points, axis=0, kind="stable")
    at, code = np.take_along_axis(points, order, 0), np.take_along_axis(codes, order, 0)
    hidden = (np.diff(code, axis=0) != 0) & (np.diff(at, axis=0) > 1)
    if hidden.any():
        c = int(np.nonzero(hidden)[1][0])
        raise Unproven(f"channel {c} changes its code elsewhere than its formula says: {steps[c]}")


def _check_size(steps: Steps) -> None:
    """Refuse numbers that int64 does not hold on the way, and what is no form."""
    reach = np.maximum(np.abs(steps.low), np.abs(steps.high)).astype(np.float64)
    large = np.abs(steps.M.astype(np.float64)) * reach + np.abs(steps.B.astype(np.float64)) >= 2.0**62.9
    wrong = large | (steps.S < 0) | (steps.S > 62) | (steps.low > steps.high) | steps.late[:, 0]
    for c, form in steps.thresholds.items():
        wrong[c] |= (form.low, form.high) != (steps.low[c], steps.high[c]) or list(form.at) != sorted(form.at)
    if wrong.any():
        c = int(np.argmax(wrong))
        raise Unproven(f"channel {c} leaves int64, or is no form: {steps[c]}")
