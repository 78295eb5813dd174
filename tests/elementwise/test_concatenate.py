"""concatenate.py: cat against PyTorch, in vectors of eight channels and besides; each step is needed."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given

import qlearn
from conformance import assert_equal
from oracle import compare
from qlearn import QTensor
from qlearn.codes import quantize, rounding
from qlearn.elementwise import concatenate
from qlearn.elementwise.sums_and_products import dequantize_fused, dequantize_subtract
from qlearn.machine.machine import ENGINES
from qlearn.machine.releases import ZERO_POINT_FIRST
from recorded import Source, each, two
from strategies import arranged, bad_scales, not_integers, outside

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


def codes_of(source: Source, i: int) -> dict[str, Any]:
    """qlearn's codes of case i: a code among eight channels, in the channel after them, and contiguous."""
    own, (scale, zero_point) = source.arrays["cats"][i]
    params, machine = (float(own[0]), int(own[1]), "quint8"), source.machine()
    out = qlearn.cat([QTensor(NINE, *params)], scale, int(zero_point), 1, machine=machine).int_repr()[:, :, 0, 0]
    flat = qlearn.cat([QTensor(CODES, *params)], scale, int(zero_point), 0, machine=machine)
    return {"body": out[:, 0], "tail": out[:, 8], "contiguous": flat.int_repr()}


@each("elementwise")
def test_recorded(source: Source) -> None:
    if source.machine().wider > 1:
        with pytest.raises(NotImplementedError, match=f"operator of release {source.machine().release}, .* AVX512"):
            codes_of(source, 0)
        return
    for i in range(len(source.arrays["cats"])):
        for place, ours in codes_of(source, i).items():
            compare("cat, recorded", ours, source.arrays[f"cat/{i}/{place}"], place)


def test_the_same_parameters_are_a_copy() -> None:
    """0.05 * (q - 128) / 0.05 is not always q: a copy is."""
    q = QTensor(NINE, 1e-45, 128, "quint8")
    assert np.array_equal(qlearn.cat([q, q], 1e-45, 128, 1).int_repr(), np.concatenate([NINE, NINE], axis=1))


def mutants() -> list[tuple[Source, str, str, Any]]:
    """Whose codes, place, step, and a wrong form of it."""
    found: list[tuple[Source, str, str, Any]] = []
    for source in two("elementwise", "avx2", "default"):
        first = source.machine().has(ZERO_POINT_FIRST)
        before, after, fused = quantize.add_first, quantize.in_vectors, rounding.fma_then_round
        moved = [after, fused] if first else [before, fused]
        if source.kind == "avx2":
            found += [
                (source, "body", "steps", with_dequantize(dequantize_subtract)),
                *((source, "body", "steps", with_quantize(wrong)) for wrong in (before, fused)),
                (source, "body", "inverse_in_double", rounding.reciprocal),
                (source, "tail", "steps", with_dequantize(dequantize_fused)),
                *((source, "tail", "steps", with_quantize(wrong)) for wrong in moved),
                (source, "tail", "reciprocal", concatenate.inverse_in_double),
                (source, "tail", "EIGHT", 1),
                (source, "body", "EIGHT", 16),
            ]
        else:
            found += [
                (source, "body", "steps", with_dequantize(dequantize_fused)),
                *((source, "body", "steps", with_quantize(wrong)) for wrong in ([after] if first else moved)),
                *([(source, "body", "steps", with_quantize(before))] if first else []),
                (source, "body", "reciprocal", concatenate.inverse_in_double),
            ]
    return found


def with_dequantize(wrong: Any) -> Any:
    """``steps`` with another first step."""
    right = concatenate.steps
    return lambda *where: (wrong, right(*where)[1])


def with_quantize(wrong: Any) -> Any:
    """``steps`` with another second step."""
    right = concatenate.steps
    return lambda *where: (right(*where)[0], wrong)


@pytest.mark.parametrize(("source", "place", "step", "wrong"), mutants())
def test_step_is_needed(source: Source, place: str, step: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's recorded codes tell each wrong step from the right one."""
    monkeypatch.setattr(concatenate, step, wrong)
    r = source.arrays
    assert any((codes_of(source, i)[place] != r[f"cat/{i}/{place}"]).any() for i in range(len(r["cats"])))


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
