"""steps.py and forms.py: the integers are the step at every accumulator, of any kind, with the ends of the range."""

from typing import Any

import numpy as np
import pytest

from qlearn.integers import Line, LineLate, Steps, Thresholds, step_of, steps_of


def clipped(x: Any, low: int = 0, high: int = 255) -> Any:
    return np.clip(x, low, high).astype(np.int64)


STEPS = {  # a step, its range, its codes, its form
    "line": (lambda a: clipped(a * 5 // 128 + 9), -900, 9000, (0, 255), Line),
    "late": (lambda a: clipped(np.rint(a / 8) + 3), -900, 9000, (0, 255), LineLate),
    "steep": (lambda a: clipped(np.rint(a * 1.5)), -300, 300, (0, 255), LineLate),
    "steeper": (lambda a: clipped(a * 3 + 1, -128, 127), -300, 300, (-128, 127), Line),
    "relu": (lambda a: clipped(a * 5 // 128 + 9, 77), -900, 9000, (77, 255), Line),
    "a corner": (lambda a: clipped(np.where(a < 0, a // 16, a // 2) + 100), -900, 900, (0, 255), Thresholds),
    "a jump": (lambda a: np.where(a < 17, 3, 200), -100, 100, (0, 255), Thresholds),
    "one step": (lambda a: np.where(a < 17, 41, 42), -100, 100, (0, 255), Line),
    "none": (lambda a: np.full(a.shape, 7), -100, 100, (0, 255), Line),
    "one accumulator": (lambda a: np.full(a.shape, 7), 5, 5, (0, 255), Line),
    "inner codes": (lambda a: clipped(a * 5 // 128 + 99), -400, 1000, (0, 255), Line),
    "two's complement": (lambda a: ~a, -128, 127, (-128, 127), Line),
    "falling": (lambda a: clipped(np.rint(a / -8) + 130), -900, 9000, (0, 255), LineLate),
    "falling corner": (lambda a: clipped(np.where(a < 0, -a // 16, -a // 2) + 100), -900, 900, (0, 255), Thresholds),
    "far away": (lambda a: clipped((a - 2**31) // 64), 2**31 - 999, 2**31 + 99999, (0, 255), Line),
}


@pytest.mark.parametrize("name", STEPS)
def test_every_accumulator(name: str) -> None:
    f, low, high, codes, kind = STEPS[name]
    form = step_of(f, low, high, codes)
    acc = np.arange(low, high + 1)
    assert type(form) is kind
    assert np.array_equal(form.codes(acc), f(acc))
    assert (form.low, form.high) == (low, high) and form.bits > 0


def test_all_at_once_are_the_same_as_one_by_one_and_fit_in_a_file() -> None:
    """A column each, the falling ones too; what ``arrays`` gives comes back."""
    some = [entry for entry in STEPS.values() if entry[3] == (0, 255) and abs(entry[1]) < 2**16]
    functions, low, high, _, _ = zip(*some, strict=True)

    def f(acc: Any) -> Any:
        return np.stack([g(acc[:, c]) for c, g in enumerate(functions)], axis=1)

    steps = steps_of(f, low, high)
    assert list(steps) == [step_of(g, a, b) for g, a, b in zip(functions, low, high, strict=True)]
    acc = np.linspace(low, high, 5000).astype(np.int64)
    assert np.array_equal(steps.codes(acc), f(acc))
    assert np.array_equal(steps.codes(acc.reshape(50, 100, -1)), f(acc).reshape(50, 100, -1))
    again = Steps.of_arrays(steps.arrays())
    assert list(again) == list(steps) and np.array_equal(again.codes(acc), f(acc))
    assert sum(steps.count().values()) == len(steps) == len(some)
    assert steps.count()["thresholds"] == 3


def test_random_staircases(rng: np.random.Generator) -> None:
    """Thresholds with a strip of any height, more than one code a step among them."""
    kinds = set()
    for _ in range(80):
        n = int(rng.integers(1, 40))
        T = np.sort(np.rint(np.arange(n) * rng.uniform(0.2, 9) + rng.uniform(0, rng.choice([0.6, 1.5, 4]), n)))
        first, low, high = int(rng.integers(0, 9)), -int(rng.integers(0, 9)), int(T[-1]) + int(rng.integers(0, 9))

        def f(acc: Any, T: Any = T, first: int = first) -> Any:
            return first + np.searchsorted(T, acc, side="right")

        form = step_of(f, low, high, (int(rng.integers(0, first + 1)), first + n + int(rng.integers(0, 2))))
        acc = np.arange(low, high + 1)
        assert np.array_equal(form.codes(acc), f(acc)), (T, low, high, form)
        kinds.add(type(form))
    assert kinds == {Line, LineLate, Thresholds}


def test_the_ends_of_the_range_are_needed() -> None:
    """A channel that reaches two codes: the thresholds alone allow lines that are wrong at both ends."""

    def f(acc: Any) -> Any:
        return np.where(acc < 3, 50, 51)

    form = step_of(f, -1000, 1000)
    acc = np.arange(-1000, 1001)
    assert np.array_equal(form.codes(acc), f(acc))
    through_the_threshold = Line(1, 51 * 8 - 3, 3, -1000, 1000)
    assert np.array_equal(through_the_threshold.codes([2, 3]), f(np.array([2, 3])))
    assert not np.array_equal(through_the_threshold.codes(acc), f(acc))


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="low must not be above high, got 3 and 2"):
        step_of(lambda a: a, 3, 2)
    with pytest.raises(ValueError, match=r"within 2\*\*32 of 0"):
        step_of(lambda a: a * 0, 0, 2**33)
    with pytest.raises(ValueError, match="f must give codes from 0 to 255, got 0 and 256"):
        step_of(lambda a: a, 0, 256)
    with pytest.raises(ValueError, match=r"at most 255 apart, got \(0, 300\)"):
        step_of(lambda a: a, 0, 256, (0, 300))
    with pytest.raises(ValueError, match=r"one shape \(C,\)"):
        steps_of(lambda a: a, [0, 1], [2])
