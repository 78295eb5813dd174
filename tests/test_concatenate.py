"""concatenate.py: cat against PyTorch, in vectors of eight channels and besides; each step is needed."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given

import qlearn
from conformance import assert_equal
from oracle import compare
from qlearn import Machine, QTensor, concatenate, recordings, rounding
from qlearn.machine import ENGINES
from strategies import arranged, bad_scales, not_integers, outside

RECORDED = recordings.load("elementwise")
CODES = np.arange(256, dtype=np.uint8)
NINE = arranged(np.repeat(CODES[:, None, None, None], 9, axis=1), "channels_last")  # (256, 9, 1, 1)
X = QTensor(np.zeros((2, 3), np.uint8), 0.5, 3, "quint8")


@pytest.mark.torch
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["quint8", "qint8", "qint32"])
def test_live(dispatch: str, engine: str, dtype: str, rng: np.random.Generator) -> None:
    """channels_last along the channels, and any other layout and axis; 1 to 130 channels each."""
    draws = [{"dtype": dtype, "n": n, "layout": "channels_last", "threads": 1 + n % 2} for n in (1, 50, 500, 3000) * 3]
    draws += [{"dtype": dtype, "n": n, "threads": 1 + n % 2} for n in (1, 50, 500, 3000) * 3]
    assert_equal("cat", engine, dispatch, rng, draws)


def codes_of(capability: str, i: int) -> dict[str, Any]:
    """qlearn's codes of case i: a code among eight channels, in the channel after them, and contiguous."""
    own, (scale, zero_point) = RECORDED[f"{capability}/cats"][i]
    params, machine = (float(own[0]), int(own[1]), "quint8"), Machine("x86", capability.upper(), 1)
    out = qlearn.cat([QTensor(NINE, *params)], scale, int(zero_point), 1, machine=machine).int_repr()[:, :, 0, 0]
    flat = qlearn.cat([QTensor(CODES, *params)], scale, int(zero_point), 0, machine=machine)
    return {"body": out[:, 0], "tail": out[:, 8], "contiguous": flat.int_repr()}


@pytest.mark.parametrize("capability", recordings.sources("elementwise"))
def test_recorded(capability: str) -> None:
    r = RECORDED
    for i in range(len(r[f"{capability}/cats"])):
        for place, ours in codes_of(capability, i).items():
            compare("cat, recorded", ours, r[f"{capability}/cat/{i}/{place}"], place)


def test_the_same_parameters_are_a_copy() -> None:
    """0.05 * (q - 128) / 0.05 is not always q: a copy is."""
    q = QTensor(NINE, 1e-45, 128, "quint8")
    assert np.array_equal(qlearn.cat([q, q], 1e-45, 128, 1).int_repr(), np.concatenate([NINE, NINE], axis=1))


def mutants() -> list[tuple[str, str, str, Any]]:
    """capability, place, step, and a wrong form of it."""
    right = concatenate.steps

    def swapped(part: int, other: tuple[str, int]) -> Any:
        """One of the two steps taken from another path."""

        def steps(dtype: str, capability: str, path: int) -> Any:
            found = list(right(dtype, capability, path))
            found[part] = right(dtype, *other)[part]
            return tuple(found)

        return steps

    return [
        ("avx2", "body", "steps", swapped(0, ("DEFAULT", 1))),
        ("avx2", "body", "steps", swapped(1, ("DEFAULT", 1))),
        ("avx2", "body", "steps", swapped(1, ("AVX2", 0))),
        ("avx2", "body", "inverse_in_double", rounding.reciprocal),
        ("avx2", "tail", "steps", swapped(0, ("AVX2", 1))),
        ("avx2", "tail", "steps", swapped(1, ("AVX2", 1))),
        ("avx2", "tail", "steps", swapped(1, ("DEFAULT", 1))),
        ("avx2", "tail", "reciprocal", concatenate.inverse_in_double),
        ("default", "body", "steps", swapped(0, ("AVX2", 1))),
        ("default", "body", "steps", swapped(1, ("AVX2", 1))),
        ("default", "body", "steps", swapped(1, ("AVX2", 0))),
        ("default", "body", "reciprocal", concatenate.inverse_in_double),
        ("avx2", "tail", "EIGHT", 1),
        ("avx2", "body", "EIGHT", 16),
    ]


@pytest.mark.parametrize(("capability", "place", "step", "wrong"), mutants())
def test_step_is_needed(capability: str, place: str, step: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's recorded codes tell each wrong step from the right one."""
    monkeypatch.setattr(concatenate, step, wrong)
    r = RECORDED
    count = len(r[f"{capability}/cats"])
    assert any((codes_of(capability, i)[place] != r[f"{capability}/cat/{i}/{place}"]).any() for i in range(count))


# Bad input is refused, by name


@given(bad_scales)
def test_bad_scale(scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        qlearn.cat([X], scale, 0, 0)


@given(outside("quint8"))
def test_zero_point_outside_dtype(zero_point: int) -> None:
    with pytest.raises((ValueError, TypeError), match="zero_point must be"):
        qlearn.cat([X], 0.5, zero_point, 0)


@given(not_integers)
def test_dim_that_is_no_integer(dim: Any) -> None:
    with pytest.raises(TypeError, match="dim must be an integer, got"):
        qlearn.cat([X], 0.5, 0, dim)


def test_what_does_not_fit() -> None:
    def quint8(*shape: int) -> QTensor:
        return QTensor(np.zeros(shape, np.uint8), 0.5, 3, "quint8")

    channels = QTensor(X.int_repr(), [0.5] * 3, [0] * 3, "quint8", 1)
    refused: list[tuple[type[Exception], str, Any, Any]] = [
        (TypeError, "tensors must be a sequence of QTensors, got QTensor", X, 0),
        (TypeError, r"tensors\[1\] must be a QTensor, got int", [X, 1], 0),
        (ValueError, "tensors must not be empty", [], 0),
        (ValueError, r"tensors\[0\] must be quantized per tensor, got per_channel_affine", [channels], 0),
        (ValueError, r"tensors\[0\] must have at least one dimension, got none", [quint8()], 0),
        (ValueError, "tensors must have the same dtype, got quint8 and qint8", [X, QTensor([0], 0.5, 3, "qint8")], 0),
        (ValueError, r"dim must be in \[-2, 2\), got 2", [X], 2),
        (ValueError, r"shapes that differ along dim 0 alone, got \(2, 3\) and \(2, 4\)", [X, quint8(2, 4)], 0),
        (ValueError, r"shapes that differ along dim 0 alone, got \(2, 3\) and \(2,\)", [X, quint8(2)], 0),
    ]
    for error, message, tensors, dim in refused:
        with pytest.raises(error, match=message):
            qlearn.cat(tensors, 0.5, 0, dim)
    with pytest.raises(TypeError, match="machine must be a Machine or None, got str"):
        qlearn.cat([X], 0.5, 0, 0, machine="x86")  # type: ignore[arg-type]
    assert qlearn.cat([quint8(0), X], 0.5, 3, 1).shape == (2, 3)  # PyTorch leaves out tensors of shape (0,)
