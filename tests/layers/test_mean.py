"""mean.py and cascade_sum.py: PyTorch's means and float32 sums, whatever the axes, the layout and the threads."""

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import qlearn
import record
from conformance import assert_equal
from oracle import ask, compare
from qlearn import Machine, QTensor
from qlearn.codes import quantize, rounding
from qlearn.layers import cascade_sum
from qlearn.machine.machine import ENGINES
from recorded import Source, each, sources, two
from strategies import arranged, not_integers

mean = import_module("qlearn.layers.mean")  # qlearn.mean is the function
RECORDER = record.load("mean")
ALL = two("mean", "default", "avx2", "avx512")


@pytest.mark.torch
@pytest.mark.parametrize("engine", ENGINES)
def test_live(capability: str, engine: str, rng: np.random.Generator) -> None:
    """Some axes of one to five; large ones are shared by threads."""
    draws = [{"threads": t, "n": n} for n in (50, 500, 3001) for t in (1, 2, 5) for _ in range(12)]
    draws += [{"threads": t, "large": True} for t in (1, 2, 3, 5) for _ in range(2)]
    assert_equal("mean", engine, capability, rng, draws)


# The sum alone: random numbers show each change of the order


@pytest.mark.torch
@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_sums(capability: str, threads: int, rng: np.random.Generator) -> None:
    drawn = [_draw(rng) for _ in range(40)]
    for (x, layout, dims), theirs in zip(drawn, ask(capability, _sums, drawn, threads=threads), strict=True):
        ours = cascade_sum.cascade_sum(arranged(x, layout), dims, threads)
        compare("float32 sum", ours, theirs, (capability, threads, x.shape, layout, dims))


def _draw(rng: np.random.Generator) -> tuple[Any, str, list[int]]:
    """Float32 numbers in up to five axes, their layout, and the axes to be added up."""
    axes, left = int(rng.integers(1, 6)), int(rng.choice([50, 500, 5000, 40_000, 100_000]))
    shape = []
    for _ in range(axes):
        shape.append(min(left, int(rng.choice([1, 2, 3, 5, 8, 9, 16, 17, 33, 49, 64, 65, 100, 700]))))
        left = max(1, left // shape[-1])
    shape[int(rng.integers(axes))] *= left
    layout = "channels_last" if axes in (4, 5) and rng.random() < 0.6 else "contiguous"
    dims = np.sort(rng.choice(axes, int(rng.integers(1, axes + 1)), replace=False)).tolist()
    return rng.normal(size=shape).astype(np.float32), layout, dims


def _sums(drawn: list[Any]) -> list[Any]:
    import torch

    return [torch.from_numpy(arranged(x, layout)).sum(dims, keepdim=True).numpy() for x, layout, dims in drawn]


# Recordings, and wrong steps that they tell from the right ones


def ours(source: Source, key: str) -> Any:
    """qlearn's codes of one recorded array."""
    name, how = key.split("/")
    if name == "all":
        machine = source.machine("x86", int(how))
        drawn = [QTensor(arranged(q, "channels_last"), scale, RECORDER.ZERO_POINT, "quint8") for q, scale in LARGE]
        return np.array([qlearn.mean(x, machine=machine).int_repr() for x in drawn])
    _, layout, dim = RECORDER.CASES[name]
    q = arranged(source.arrays[name], layout)
    tensors = [QTensor(q, scale, RECORDER.ZERO_POINT, "quint8") for scale in RECORDER.SCALES]
    return np.stack([qlearn.mean(x, dim, machine=source.machine(how)).int_repr() for x in tensors])


LARGE = RECORDER.large()
KEYS = tuple(key for key in sources("mean")[0].arrays if key.count("/") == 1)


@each("mean")
@pytest.mark.parametrize("key", KEYS)
def test_recorded(source: Source, key: str) -> None:
    compare("mean, recorded", ours(source, key), source.arrays[key], key)


@each("mean")
def test_threads_change_an_integer(source: Source) -> None:
    """The mean of 40,960 codes on one thread and on two: other blocks, other roundings, other integers at ties."""
    one, other = (source.arrays[f"all/{threads}"] for threads in (1, 2))
    assert (one != other).any() and np.abs(one.astype(int) - other).max() == 1


def one_by_one(a: Any) -> Any:
    """One addition after the other."""
    return cascade_sum._one_by_one(a)


def mutants() -> list[tuple[str, Any, str, Any]]:
    """recorded array, module, step, and a wrong form of it."""
    c: Any = cascade_sum
    multi, rows, vectors, columns = c.multi_row_sum, c.row_sum, c.vector_sum, c.sum_of_columns
    return [
        ("columns/fbgemm", c, "multi_row_sum", one_by_one),
        ("columns/fbgemm", c, "row_sum", multi),
        ("columns/fbgemm", c, "sum_of_columns", lambda a, step, across: multi(a)),
        ("columns/fbgemm", c, "sum_of_columns", lambda a, step, across: rows(a)),
        ("columns/fbgemm", c, "sum_of_columns", lambda a, step, across: a.sum(0)),
        ("columns/fbgemm", c, "VECTOR", 16),
        ("columns/fbgemm", c, "ROWS", 2),
        ("long columns/fbgemm", c, "LEVELS", 2),
        ("long columns/fbgemm", c, "_ceil_log2", lambda n: 20),
        ("rows/fbgemm", c, "vector_sum", rows),
        ("rows/fbgemm", c, "VECTOR", 16),
        ("rows/fbgemm", c, "VECTOR", 4),
        ("sums of rows/fbgemm", c, "vector_sum", rows),
        ("across/fbgemm", c, "row_sum", multi),
        ("narrow columns/fbgemm", c, "sum_of_columns", lambda a, step, across: rows(a)),
        ("narrow columns/fbgemm", c, "sum_of_columns", lambda a, step, across: multi(a)),
        ("across/fbgemm", c, "sum_of_columns", lambda a, step, across: columns(a, step, 0)),
        ("across/fbgemm", c, "sum_of_columns", lambda a, step, across: vectors(a)),
        ("all/1", c, "vector_sum", rows),
        ("all/2", c, "_shares", lambda n, threads, grain: [(0, n)]),
        ("all/5", c, "GRAIN", 8192),
        ("all/1", c, "vector_sum", lambda a: a.sum(0)),
        ("last/fbgemm", mean, "divided", lambda s, n: s * rounding.reciprocal(n)),
        ("columns/fbgemm", mean, "divided", lambda s, n: s * rounding.reciprocal(n)),
        ("pixels/qnnpack", mean, "inverse_of_scales", lambda scale, n: rounding.reciprocal(n)),
        ("pixels/qnnpack", mean, "in_vectors", quantize.add_first),
    ]


@pytest.mark.parametrize(("key", "module", "step", "wrong"), mutants())
def test_step_is_needed(key: str, module: Any, step: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's recorded codes tell each wrong step from the right one."""
    monkeypatch.setattr(module, step, wrong)
    assert any((ours(source, key) != source.arrays[key]).any() for source in ALL)


@each("mean")
def test_the_integer_mean_knows_no_zero_point(source: Source) -> None:
    """Ties of the last axes: the codes' parity decides, not that of code minus zero point."""
    q, theirs = source.arrays["last"], source.arrays["last/fbgemm"]
    sums = q.sum((1, 2), dtype=np.float32)
    assert np.array_equal(theirs[0], np.rint(sums / np.float32(14))) and (theirs == theirs[0]).all()
    assert not np.array_equal(theirs[0], np.rint(sums / np.float32(14) - 3) + 3)


# Bad input is refused, by name

X = QTensor(np.zeros((2, 3, 4, 5), np.uint8), 0.5, 3, "quint8")


@given(not_integers)
def test_dim_that_is_no_integer(dim: Any) -> None:
    if dim is not None and dim != "" and dim != b"":
        with pytest.raises(TypeError, match="dim must be integers, got"):
            qlearn.mean(X, dim)


def test_what_does_not_fit() -> None:
    def quint8(*shape: int) -> QTensor:
        return QTensor(np.zeros(shape, np.uint8), 0.5, 3, "quint8")

    one_channel = np.lib.stride_tricks.as_strided(np.zeros(40, np.uint8), (2, 1, 4, 5), (20, 1, 5, 1))
    both_ways = QTensor(one_channel, 0.5, 3, "quint8")  # contiguous and channels_last
    refused: list[tuple[str, Any, Any]] = [
        (r"dim must be in \[-4, 4\), got 4", X, 4),
        (r"dim must be in \[-4, 4\), got -5", X, (0, -5)),
        ("dim must name an axis once, got", X, (1, -3)),
        (r"x must hold codes along dim, got shape \(2, 0\)", quint8(2, 0), 1),
        ("x must not lie like channels_last here", both_ways, (2, 3)),
        ("x must be quantized per tensor", QTensor(X.int_repr(), [0.5] * 3, [0] * 3, "quint8", 1), 1),
    ]
    for message, x, dim in refused:
        with pytest.raises(ValueError, match=message):
            qlearn.mean(x, dim)
    with pytest.raises(ValueError, match="must be a normal float32 on the engine qnnpack"):
        qlearn.mean(QTensor(X.int_repr(), 1e-40, 3, "quint8"), (2, 3), machine=Machine("qnnpack", "AVX2", 1))
    with pytest.raises(TypeError, match="x must be a QTensor, got int"):
        qlearn.mean(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="machine must be a Machine or None, got str"):
        qlearn.mean(X, machine="x86")  # type: ignore[arg-type]
    assert qlearn.mean(quint8(0, 3), 1).shape == (0,)
    assert qlearn.mean(X).shape == () and qlearn.mean(X, (), True).shape == (1, 1, 1, 1)
