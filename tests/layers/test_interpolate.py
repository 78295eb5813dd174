"""interpolate.py: PyTorch's larger and smaller images, in each mode; each step is needed."""

from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import qlearn
import record
from conformance import assert_equal
from oracle import compare
from qlearn import QTensor
from qlearn.codes import quantize, rounding
from qlearn.machine.releases import ZERO_POINT_FIRST
from recorded import Source, each, two
from strategies import arranged

interpolate = import_module("qlearn.layers.interpolate")  # qlearn.interpolate is the function
RECORDER = record.load("interpolate")


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["x86", "qnnpack"])
def test_live(capability: str, engine: str, rng: np.random.Generator) -> None:
    """Each dtype, mode and memory format, by size and by factor; sliced, no batch."""
    draws: list[dict[str, Any]] = [
        {"dtype": dtype, "layout": layout, "n": 200, "threads": 1 + i % 2}
        for dtype in ("quint8", "qint8", "qint32")
        for layout in ("contiguous", "channels_last", "")
        for i in range(20)
    ]
    assert_equal("interpolate", engine, capability, rng, draws)


# Recordings, and wrong steps that they tell from the right ones


def ours(source: Source, key: str) -> Any:
    """qlearn's codes of one recorded array, flat."""
    what, layout = key.split("/")
    machine = source.machine("x86")

    def tensor(codes: Any) -> QTensor:
        dtype = "quint8" if codes.dtype == np.uint8 else "qint32"
        return QTensor(arranged(codes, layout), RECORDER.SCALE, RECORDER.ZERO_POINT, dtype)

    if what == "bilinear":
        images = [tensor(source.arrays[name]) for name, _, _ in RECORDER.BILINEAR]
        outs = [
            qlearn.interpolate(x, size, None, "bilinear", align, machine=machine).int_repr()
            for x, (_, size, align) in zip(images, RECORDER.BILINEAR, strict=True)
        ]
    else:
        outs = [
            qlearn.interpolate(
                tensor(RECORDER.row(length)), size and (2, size), factor and (1.0, factor), mode
            ).int_repr()[0, 0, 0]
            for mode, length, size, factor in RECORDER.NEAREST
        ]
    return np.concatenate([out.ravel() for out in outs]).astype(np.int32)


@each("interpolate")
@pytest.mark.parametrize("key", [f"{what}/{layout}" for what in ("bilinear", "nearest") for layout in RECORDER.LAYOUTS])
def test_recorded(source: Source, key: str) -> None:
    compare("interpolate, recorded", ours(source, key), source.arrays[key], key)


def mutants() -> list[tuple[Source, str, str, Any]]:
    """Whose array, which, step, and a wrong form of it."""
    i: Any = interpolate
    plain, first, last = i.weigh, i.weigh_fused_first, i.weigh_fused_last
    fused = [
        *(("weigh_fused_first", wrong) for wrong in (plain, last)),
        *(("weigh_fused_last", wrong) for wrong in (plain, first)),
        *(("place_fused", i.place), ("place_aligned", i.place), ("EIGHT", 16), ("EIGHT", 1)),
    ]
    apart = [
        *(("weigh", wrong) for wrong in (first, last)),
        *(("place", i.place_fused), ("place_aligned", i.place)),
        ("_neighbors", lambda p, n: _always_below(p)),
    ]
    rows = [
        ("nearest", lambda size, r: np.floor(np.arange(size) * np.float64(r)).astype(int)),
        ("nearest", lambda size, r: np.rint(np.arange(size) * r).astype(int)),
        ("nearest_exact", i.nearest),
        ("nearest_exact", lambda size, r: np.floor((np.arange(size) + 0.5) * np.float64(r)).astype(int)),
        ("ratio", lambda n, size, f: np.float32(n / size) if f is None else rounding.reciprocal(f)),
        ("ratio", lambda n, size, f: np.float32(n) / np.float32(size)),
    ]
    found = [(s, "bilinear/channels_last", *mutant) for s in two("interpolate", "avx2", "avx512") for mutant in fused]
    for kind, key in (("default", "bilinear/channels_last"), ("avx2", "bilinear/contiguous")):
        for source in two("interpolate", kind):
            moved = quantize.in_vectors if source.machine().has(ZERO_POINT_FIRST) else quantize.add_first
            found += [(source, key, *mutant) for mutant in apart]
            found += [(source, key, "in_scalars", lambda machine, moved=moved: moved)]
    return found + [(s, "nearest/contiguous", *mutant) for s in two("interpolate", "avx2") for mutant in rows]


def _always_below(place: Any) -> Any:
    """Both neighbors the same pixel."""
    before = place.astype(np.int64)
    weight = place - before.astype(np.float32)
    return before, before, np.float32(1) - weight, weight


@pytest.mark.parametrize(("source", "key", "step", "wrong"), mutants())
def test_step_is_needed(source: Source, key: str, step: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's recorded codes tell each wrong step from the right one."""
    monkeypatch.setattr(interpolate, step, wrong)
    assert (ours(source, key) != source.arrays[key]).any()


@pytest.mark.parametrize("source", two("interpolate", "default", "avx2"), ids=str)
def test_fusing_changes_an_integer(source: Source) -> None:
    """The same image, the same weights: channels_last on AVX2 gives other integers than contiguous."""
    one, other = (source.arrays[f"bilinear/{layout}"] for layout in RECORDER.LAYOUTS)
    assert np.array_equal(one, other) == (source.kind == "default")


# Bad input is refused, by name


def test_what_does_not_fit() -> None:
    def quint8(*shape: int) -> QTensor:
        return QTensor(np.zeros(shape, np.uint8), 0.5, 3, "quint8")

    x = quint8(1, 2, 6, 6)
    call_of, scale = partial(qlearn.interpolate, x), partial(qlearn.interpolate, x, None)
    refused: list[tuple[type[Exception], str, Any]] = [
        (ValueError, "x must be quantized per tensor",
         partial(qlearn.interpolate, QTensor(x.int_repr(), [0.5] * 2, [0] * 2, "quint8", 1), 2)),
        (ValueError, "x must not be empty, but for its batch", partial(qlearn.interpolate, quint8(1, 0, 2, 2), 2)),
        (ValueError, "size or scale_factor must be given, and not both, got None and None", partial(scale, None)),
        (ValueError, "size or scale_factor must be given, .* got 2 and 2.0", partial(call_of, 2, 2.0)),
        (ValueError, "size must be an integer or 2 of them, at least 1, got 0", partial(call_of, 0)),
        (ValueError, "scale_factor must be a positive number or two, got -1.0", partial(scale, -1.0)),
        (ValueError, "scale_factor must be a positive number or two", partial(scale, (1.0, 2.0, 3.0))),
        (ValueError, "scale_factor must be a positive number or two, got nan", partial(scale, float("nan"))),
        (ValueError, "scale_factor must leave a pixel, got 0.1", partial(scale, 0.1)),
        (ValueError, "align_corners must be None with mode 'nearest'", partial(call_of, 2, align_corners=True)),
        (TypeError, "size must be an integer", partial(call_of, 2.5)),
        (TypeError, "scale_factor must be a number or two, got 'two'", partial(scale, "two")),
        (TypeError, "x must be a QTensor, got int", partial(qlearn.interpolate, 1, 2)),
        (TypeError, "machine must be a Machine or None, got str", partial(call_of, 2, machine="x86")),
        (NotImplementedError, "mode must be nearest, .* got 'bicubic'", partial(scale, 2.0, "bicubic")),
        (NotImplementedError, r"x must have 4 dimensions, N, C, H and W, got shape \(1, 2, 6\)",
         partial(qlearn.interpolate, quint8(1, 2, 6), 2)),
    ]  # fmt: skip
    for error, message, call in refused:
        with pytest.raises(error, match=message):
            call()
    assert qlearn.interpolate(quint8(0, 2, 3, 3), 5).shape == (0, 2, 5, 5)
