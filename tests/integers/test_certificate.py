"""certificate.py: a wrong bit is refused if and only if it changes a code within the range."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qlearn.integers import Steps, Unproven, prove, steps_of
from qlearn.layers import requantize

CHANNELS, RANGE = 5, 800


def layer(rng: np.random.Generator, codes: tuple[int, int] = (0, 255)) -> tuple[Any, Steps]:
    """A step of float32, some channels of which need late codes; one has thresholds."""
    multiplier = 2.0 ** rng.uniform(-4.5, -2, CHANNELS)
    multiplier[:2] = 2.0 ** -np.arange(2, 4)
    w_scale = (multiplier * 0.5).astype(np.float32).astype(np.float64)
    bias = np.rint(rng.normal(size=CHANNELS) * 20).astype(np.float32)
    z = int(rng.integers(100, 140))
    low, high = -rng.integers(200, RANGE, CHANNELS), rng.integers(200, RANGE, CHANNELS)

    def f(acc: Any) -> Any:
        code = requantize.fbgemm(acc, bias, 1.0, w_scale, 0.5, z, relu=False)
        code[..., -1] = np.clip(np.where(acc[..., -1] < 0, acc[..., -1] // 16, acc[..., -1] // 2) + 100, 0, 255)
        return code

    return f, steps_of(f, low, high, codes)


def mutants(steps: Steps) -> Iterator[tuple[str, int, Steps]]:
    """Each bit of M, B, S, each late code more or less, each end moved: the field, the channel, the steps."""
    for c in range(len(steps)):
        if c in steps.thresholds:
            for i in range(len(steps.thresholds[c].at)):
                at = list(steps.thresholds[c].at)
                at[i] += 1
                yield "at", c, replace(steps, thresholds={c: replace(steps.thresholds[c], at=tuple(at))})
            continue
        for name, bits in (("M", 20), ("B", 40), ("S", 6)):
            for bit in range(bits):
                array = getattr(steps, name).copy()
                array[c] ^= 1 << bit
                yield name, c, replace(steps, **{name: array})
        for k in range(1, steps.late.shape[1]):
            late = steps.late.copy()
            late[c, k] ^= True
            yield "late", c, replace(steps, late=late)


def test_a_wrong_bit_is_refused(rng: np.random.Generator) -> None:
    """Where every accumulator of the range says that the codes changed, and there alone."""
    f, steps = layer(rng)
    assert all(steps.count().values())
    acc = np.arange(-RANGE, RANGE + 1)[:, None].repeat(CHANNELS, axis=1)
    within, right = (acc >= steps.low) & (acc <= steps.high), f(acc)
    refused: dict[str, list[bool]] = {}
    for name, c, mutant in mutants(steps):
        column = within[:, c]
        with np.errstate(over="ignore"):
            wrong = not np.array_equal(mutant[c].codes(acc[column, c]), right[column, c]) if mutant.S[c] < 63 else True
        try:
            prove(mutant, f)
            found = False
        except Unproven:
            found = True
        assert found == wrong, (name, c, mutant[c], steps[c])
        refused.setdefault(name, []).append(found)
    assert {name for name, each in refused.items() if any(each)} == {"M", "B", "S", "late", "at"}
    assert all(refused["at"]) and all(refused["S"])


def test_a_wrong_end_of_the_range_is_refused(rng: np.random.Generator) -> None:
    """Where the codes go on beyond it, and the line does not follow them."""

    def f(acc: Any) -> Any:
        return np.where(acc < 3, 50, 51) + (acc > 100) - (acc < -100)

    steps = steps_of(f, [-100], [100])
    assert prove(steps, f) == 2 + 2 * 255
    for name, end in (("low", -101), ("high", 101)):
        with pytest.raises(Unproven, match=r"for accumulator -?101, where float32 gives"):
            prove(replace(steps, **{name: np.array([end])}), f)


def test_codes_that_change_where_nobody_looks_are_refused(rng: np.random.Generator) -> None:
    """f agrees with the integers at the points that are looked at for other integers."""
    _, steps = layer(rng)
    other = replace(steps, M=steps.M * 3 // 2)
    with pytest.raises(Unproven):
        prove(steps, lambda acc: other.codes(acc))


def test_numbers_beyond_int64_are_refused(rng: np.random.Generator) -> None:
    f, steps = layer(rng)
    with pytest.raises(Unproven, match="leaves int64, or is no form"):
        prove(replace(steps, B=steps.B + (2**63 - 2**50)), f)
