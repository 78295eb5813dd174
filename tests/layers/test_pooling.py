"""pooling.py: every integer of PyTorch's pools, on each engine and capability, and where it lies."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import drawing
import qlearn
import record
from conformance import assert_equal
from oracle import ask, compare, running
from qlearn import Machine, QTensor
from qlearn.codes import quantize, rounding
from qlearn.elementwise import concatenate
from qlearn.layers import pooling
from qlearn.machine.machine import ENGINES
from qlearn.machine.releases import ZERO_POINT_FIRST
from recorded import Source, each, two
from strategies import arranged, not_integers

POOLS = ("max_pool1d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d")
RECORDER = record.load("pooling")


@pytest.mark.torch
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", POOLS)
def test_live(capability: str, engine: str, name: str, rng: np.random.Generator) -> None:
    """Each dtype and memory format, with padding, dilation, ceil_mode and divisors of all kinds; sliced, no batch."""
    draws: list[dict[str, Any]] = [
        {"dtype": dtype, "layout": layout, "n": n, "threads": 1 + n % 2}
        for dtype in ("quint8", "qint8", "qint32")
        for layout in ("contiguous", "channels_last", "")
        for n in (50, 500, 3001) * 2
    ]
    assert_equal(name, engine, capability, rng, draws)


# Every sum that n codes can have: each is one channel, in vectors or after them

AVERAGES = (("avg_pool2d", lambda n: ((1, n),)), ("adaptive_avg_pool2d", lambda n: (1,)), ("mean", lambda n: ((2, 3),)))


def every_sum(n: int, channels: int) -> Any:
    """(N, channels, 1, n): n codes for each sum from 0 to 255 * n; channels 0 puts all of them in one image."""
    sums = np.arange(255 * n + 1)
    codes = (sums[:, None] // n + (np.arange(n) < sums[:, None] % n)).astype(np.uint8)
    return np.resize(codes, (-(-len(sums) // (channels or len(sums))), channels or len(sums), 1, n))


def averages(n: int, scale: float, zero_point: int, channels: int, layout: str) -> list[Any]:
    """PyTorch's of every sum."""
    import torch

    q = torch._make_per_tensor_quantized_tensor(torch.from_numpy(every_sum(n, channels)), scale, zero_point)
    last = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    x, calls = q.contiguous(memory_format=last), {"mean": torch.mean}
    found = [calls.get(name, getattr(torch.nn.functional, name, None))(x, *args(n)) for name, args in AVERAGES]
    return [out.int_repr().numpy() for out in found]


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["x86", "qnnpack"])
def test_every_sum(capability: str, engine: str) -> None:
    machine = running(engine, capability)
    for n in (2, 6, 14, 26):
        for zero_point, scale in ((3, 0.05), (128, 0.037)):
            for channels, layout in ((0, "channels_last"), (5, "channels_last"), (5, "contiguous")):
                draw = (n, scale, zero_point, channels, layout)
                x = QTensor(arranged(every_sum(n, channels), layout), scale, zero_point, "quint8")
                theirs = ask(capability, averages, *draw, engine=engine)
                for (name, args), codes in zip(AVERAGES, theirs, strict=True):
                    ours = getattr(qlearn, name)(x, *args(n), machine=machine).int_repr()
                    compare(f"{name} of every sum", ours, codes, (engine, capability, *draw))


# Recordings, and wrong steps that they tell from the right ones


def ours(source: Source, key: str) -> Any:
    """qlearn's codes of one recorded array, flat."""
    r, (engine, layout, number) = source.arrays, key.split("/")
    if engine == "board":
        board = QTensor(r["board"], RECORDER.SCALE, 3, "quint8")
        return qlearn.adaptive_avg_pool2d(board, 2, machine=source.machine("x86")).int_repr().ravel()
    if engine == "hard":
        hard = QTensor(arranged(r["hard"], layout), RECORDER.SCALE, 128, "quint8")
        return qlearn.adaptive_avg_pool2d(hard, (2, 4), machine=source.machine("x86")).int_repr().ravel()
    if engine == "large":
        large = QTensor(arranged(r["large"], layout), RECORDER.SCALE, 0, "qint32")
        machine = source.machine("x86")
        return qlearn.avg_pool2d(large, 2, divisor_override=int(number), machine=machine).int_repr().ravel()
    x = QTensor(arranged(r["x"], layout), RECORDER.SCALE, int(number), "quint8")
    pools = [getattr(qlearn, name)(x, *args, machine=source.machine(engine)) for name, args in RECORDER.CALLS]
    return np.concatenate([pool.int_repr().ravel() for pool in pools])


def theirs(source: Source, key: str) -> Any:
    """PyTorch's."""
    name = key.split("/")[0]
    return source.arrays[f"{name}/out" if name in ("board", "hard") else key].ravel()


KEYS = (
    "board/contiguous/2",
    "hard/channels_last/128",
    *(f"large/{layout}/{divisor}" for layout in RECORDER.LAYOUTS for divisor in RECORDER.DIVISORS),
    *(f"{e}/{layout}/{z}" for e in RECORDER.ENGINES for layout in RECORDER.LAYOUTS for z in RECORDER.ZERO_POINTS),
)


@each("pooling")
@pytest.mark.parametrize("key", KEYS)
def test_recorded(source: Source, key: str) -> None:
    compare("pools, recorded", ours(source, key), theirs(source, key), key)


ODD = ("fbgemm/channels_last/3", "fbgemm/channels_last/128")
BESIDE = ("fbgemm/contiguous/3", "fbgemm/contiguous/128")
QNNPACK = ("qnnpack/channels_last/3", "qnnpack/channels_last/128")
HARD = ("hard/channels_last/128",)
BOARD = ("board/contiguous/2",)
right_largest, right_counts, right_adaptive = pooling._largest, pooling._counts, pooling.adaptive_spans


def mutants() -> list[tuple[Source, tuple[str, ...], str, Any]]:
    """Whose arrays, which, step, and a wrong form of it."""
    found = []
    for capability, width in (("default", 0), ("avx2", 8), ("avx512", 16)):
        for source in two("pooling", capability):
            found += [(source, *mutant) for mutant in of_quantize(source.machine(), width)]
    for source in two("pooling", "avx2"):
        found += [(source, *mutant) for mutant in of_averages()]
    return found


def of_quantize(machine: Machine, width: int) -> list[tuple[tuple[str, ...], str, Any]]:
    """Wrong ways from averages to codes; and other numbers of channels in a vector, where vectors part from scalars."""
    before, after, fused = quantize.add_first, quantize.in_vectors, rounding.fma_then_round
    first = machine.has(ZERO_POINT_FIRST)

    def chosen(step: str, *quantizers: Any) -> list[Any]:
        return [(step, lambda machine, wrong=wrong: wrong) for wrong in quantizers]

    found = [(QNNPACK, "in_vectors", before)]
    found += [(ODD, *mutant) for mutant in chosen("in_scalars", after if first else before)]
    if first:
        found += [(ODD, "VECTOR", {machine.capability: w}) for w in (0, 8, 16) if w != width]
    if machine.capability != "DEFAULT":
        found += [(ODD, "in_vectors", wrong) for wrong in (before, fused)]
        found += [(HARD + ODD, *mutant) for mutant in chosen("in_vectors_of_fbgemm", before)]
        found += [(HARD, *mutant) for mutant in chosen("in_vectors_of_fbgemm", after if first else fused)]
        found += [(HARD, "EIGHT", wrong) for wrong in (16, 1) if first]
    return found


def of_averages() -> list[tuple[tuple[str, ...], str, Any]]:
    """Wrong sums, counts and inverses."""
    return [
        (BESIDE, "quantize_in_int32", quantize.in_vectors),
        (BOARD, "inverse_of_sides", lambda kh, kw: rounding.reciprocal(np.multiply.outer(kh, kw))),
        (BESIDE, "_counts", lambda span, length, margin: right_counts(span, length, 0)),
        (BESIDE, "_counts", lambda span, length, margin: right_counts(span, length, 1)),
        (ODD, "adaptive_spans", lambda length, out: pooling.regular_spans(out, -(-length // out), length // out, 0)),
        (("large/contiguous/16777217",), "inverse_in_double", rounding.reciprocal),
        (("large/channels_last/16777217",), "inverse_of_count", concatenate.inverse_in_double),
        (QNNPACK, "inverse_of_scales", lambda scale, n: rounding.reciprocal(n)),
        (QNNPACK, "_largest", lambda *where, nearest: right_largest(*where, nearest=False)),
        (ODD, "_largest", lambda *where, nearest: right_largest(*where, nearest=True)),
    ]


@pytest.mark.parametrize(("source", "keys", "step", "wrong"), mutants())
def test_step_is_needed(
    source: Source, keys: tuple[str, ...], step: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's recorded codes tell each wrong step from the right one."""
    monkeypatch.setattr(pooling, step, wrong)
    assert any((ours(source, key) != theirs(source, key)).any() for key in keys)


@pytest.mark.parametrize("source", two("pooling", "avx2"), ids=str)
def test_the_contiguous_adaptive_average_knows_no_zero_point(source: Source) -> None:
    """sum(q) * m rounds otherwise than sum(q - z) * m + z; recorded, so this is PyTorch's."""
    codes = theirs(source, "board/contiguous/2").reshape(9, 4)[:, 0]
    sums = source.arrays["board"][0, :, :7, :10].sum((1, 2), dtype=np.int64)
    m = pooling.inverse_of_sides(np.array([7]), np.array([10]))[0, 0]
    assert np.array_equal(codes, np.rint(sums.astype(np.float32) * m))
    assert not np.array_equal(codes, np.rint((sums - 70 * 3).astype(np.float32) * m + np.float32(3)))


def test_three_inversions_are_one() -> None:
    """The kernels invert m = 1 / n twice more; that gives m again for every float32 significand, so it is left out."""
    n = np.arange(2**23, 2**24).astype(np.float32)
    m = rounding.reciprocal(n)
    assert np.array_equal(rounding.reciprocal(rounding.reciprocal(m)), m)


# PyTorch's own surprises, on purpose


def surprises() -> list[Any]:
    """A pixel that is contiguous and channels_last at once; a window of padding alone; qnnpack's dilated window."""
    import torch

    pools = torch.nn.functional
    pixel = torch._make_per_tensor_quantized_tensor(torch.tensor([[[[10]], [[20]]]], dtype=torch.uint8), 0.1, 0)
    row = torch._make_per_tensor_quantized_tensor(torch.tensor([[[[90, 80, 7]]]], dtype=torch.uint8), 0.1, 0)
    found = [pools.adaptive_avg_pool2d(pixel, 2), pools.max_pool2d(row[..., :2], (1, 2), 1, (0, 1), (1, 3))]
    torch.backends.quantized.engine = "qnnpack"
    found += [pools.max_pool2d(row, (1, 2), 1, (0, 1), (1, 2))]
    return [out.int_repr().numpy().tolist() for out in found]


SURPRISES: list[Any] = [[[[[10, 20], [10, 20]], [[10, 20], [10, 20]]]], [[[[0]]]], [[[[90, 90, 80]]]]]


@pytest.mark.torch
def test_surprises_are_pytorchs() -> None:
    assert ask("DEFAULT", surprises) == SURPRISES


def test_surprises() -> None:
    """The two channels of one pixel come out mixed; padding alone is the lowest code; qnnpack moves it."""
    pixel, row = (
        QTensor(np.array(codes, np.uint8), 0.1, 0, "quint8") for codes in ([[[[10]], [[20]]]], [[[[90, 80, 7]]]])
    )
    found = [
        qlearn.adaptive_avg_pool2d(pixel, 2),
        qlearn.max_pool2d(QTensor(row.int_repr()[..., :2], 0.1, 0, "quint8"), (1, 2), 1, (0, 1), (1, 3)),
        qlearn.max_pool2d(row, (1, 2), 1, (0, 1), (1, 2), machine=Machine("qnnpack", "AVX2", 1)),
    ]
    assert [out.int_repr().tolist() for out in found] == SURPRISES
    other = qlearn.max_pool2d(row, (1, 2), 1, (0, 1), (1, 2))
    assert other.int_repr().tolist() == [[[[80, 90, 80]]]]  # what the other engines see


# Bad input is refused, by name

X = QTensor(np.zeros((1, 2, 6, 6), np.uint8), 0.5, 3, "quint8")


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
@given(not_integers)
def test_lengths_that_are_no_integers(name: str, wrong: Any) -> None:
    pool = getattr(qlearn, name)
    with pytest.raises(TypeError, match="kernel_size must be an integer"):
        pool(X, wrong)
    with pytest.raises(TypeError, match="padding must be an integer"):
        pool(X, 2, 2, wrong)
    if wrong is not None:
        with pytest.raises(TypeError, match="stride must be an integer"):
            pool(X, 2, wrong)
        with pytest.raises(TypeError, match="divisor_override must be an integer"):
            qlearn.avg_pool2d(X, 2, divisor_override=wrong)
    with pytest.raises(TypeError, match="output_size must be an integer"):
        qlearn.adaptive_avg_pool2d(X, wrong)


def test_what_does_not_fit() -> None:
    def quint8(*shape: int) -> QTensor:
        return QTensor(np.zeros(shape, np.uint8), 0.5, 3, "quint8")

    maximum, average, adaptive = qlearn.max_pool2d, qlearn.avg_pool2d, qlearn.adaptive_avg_pool2d
    channels = QTensor(X.int_repr(), [0.5, 0.5], [0, 0], "quint8", 1)
    qnnpack = {"machine": Machine("qnnpack", "AVX2", 1)}
    tiny = QTensor(X.int_repr(), 1e-40, 3, "quint8")
    refused: list[tuple[str, Any]] = [
        ("x must be quantized per tensor", partial(maximum, channels, 2)),
        (r"x must have 4 dimensions, N, C, H and W, or 3, got shape \(2, 3\)", partial(maximum, quint8(2, 3), 2)),
        (r"x must have 3 dimensions, N, C and L, or 2", partial(qlearn.max_pool1d, quint8(2), 2)),
        (r"x must not be empty, but for its batch", partial(average, quint8(1, 0, 4, 4), 2)),
        ("kernel_size must be an integer or 2 of them, at least 1, got 0", partial(maximum, X, 0)),
        ("kernel_size must be an integer or 2 of them", partial(maximum, X, (1, 2, 3))),
        ("stride must be an integer or 2 of them, at least 1", partial(average, X, 2, 0)),
        ("padding must be at most 1, half of the kernel, got 2", partial(maximum, X, 3, 1, 2)),
        ("padding must be at most 1, half of the kernel, got 2", partial(average, X, 3, 1, 2)),
        ("padding must be at most 2, half of the kernel, got 3", partial(maximum, X, 3, 1, 3, 2, **qnnpack)),
        ("kernel_size must not be larger than the padded x", partial(maximum, X, 7)),
        ("kernel_size must not be larger than the padded x", partial(average, X, 8, 1)),
        ("kernel_size must not be larger than the padded x", partial(average, X, 7, **qnnpack)),
        ("kernel_size must be more than one pixel on the engine qnnpack", partial(average, X, 1, **qnnpack)),
        ("kernel_size must be more than one pixel on the engine qnnpack", partial(maximum, X, 1, **qnnpack)),
        ("x must have 4 dimensions on the engine qnnpack", partial(average, quint8(2, 6, 6), 2, **qnnpack)),
        ("x must have 4 dimensions on the engine qnnpack", partial(adaptive, quint8(2, 6, 6), 2, **qnnpack)),
        (r"x.q_scale\(\) must be a normal float32 .* got 1e-40", partial(average, tiny, 2, **qnnpack)),
        ("divisor_override must be an int32 other than 0, got 0", partial(average, X, 2, divisor_override=0)),
        ("divisor_override must be an int32 other than 0", partial(average, X, 2, divisor_override=2**31)),
        ("output_size must be an integer or 2 of them, at least 1, got 0", partial(adaptive, X, 0)),
    ]  # fmt: skip
    for message, call in refused:
        with pytest.raises(ValueError, match=message):
            call()
    for name, args in (("max_pool1d", (2,)), ("max_pool2d", (2,)), ("avg_pool2d", (2,)), ("adaptive_avg_pool2d", (2,))):
        with pytest.raises(TypeError, match="machine must be a Machine or None, got str"):
            getattr(qlearn, name)(quint8(1, 6, 6), *args, machine="x86")
        with pytest.raises(TypeError, match="x must be a QTensor, got int"):
            getattr(qlearn, name)(1, *args)


@pytest.mark.torch
def test_both_refuse() -> None:
    """What qlearn refuses on an engine, PyTorch refuses there too; but for what PyTorch would divide by zero."""
    found = ask("DEFAULT", refusals)
    assert found and all(answer == "RuntimeError" for answer in found.values()), found


def refusals() -> dict[str, str]:
    """What PyTorch says to some of the above."""
    import torch

    def quint8(*shape: int, scale: float = 0.5) -> Any:
        return torch._make_per_tensor_quantized_tensor(torch.zeros(shape, dtype=torch.uint8), scale, 3)

    pools, x = torch.nn.functional, quint8(1, 2, 6, 6)
    calls: dict[str, Any] = {
        "kernel 0": lambda: pools.max_pool2d(x, 0),
        "stride 0": lambda: pools.avg_pool2d(x, 2, 0),
        "padding": lambda: pools.avg_pool2d(x, 3, 1, 2),
        "padding of max": lambda: pools.max_pool2d(x, 3, 1, 2),
        "large kernel": lambda: pools.max_pool2d(x, 7),
        "larger kernel": lambda: pools.avg_pool2d(x, 8, 1),
        "divisor 0": lambda: pools.avg_pool2d(x, 2, divisor_override=0),
        "two dimensions": lambda: pools.max_pool2d(quint8(2, 3), 2),
        "qnnpack, one pixel": lambda: pools.avg_pool2d(x, 1),
        "qnnpack, one pixel of max": lambda: pools.max_pool2d(x, 1),
        "qnnpack, three dimensions": lambda: pools.avg_pool2d(quint8(2, 6, 6), 2),
        "qnnpack, large kernel": lambda: pools.avg_pool2d(x, 7),
        "qnnpack, scale": lambda: pools.avg_pool2d(quint8(1, 2, 6, 6, scale=1e-40), 2),
        "qnnpack, padding": lambda: pools.max_pool2d(x, 3, 1, 3, 2),
    }
    found = {}
    for what, call in calls.items():
        torch.backends.quantized.engine = "qnnpack" if what.startswith("qnnpack") else "x86"
        try:
            found[what] = str(call().shape)
        except RuntimeError:
            found[what] = "RuntimeError"
    return found


def test_drawn_strides_of_short_axes_are_compared() -> None:
    """A tensor with one pixel is channels_last or not by strides that no element has."""
    import drawn_pooling

    zeros = np.zeros(2, np.uint8)
    both = [np.lib.stride_tricks.as_strided(zeros, (1, 2, 1, 1), strides) for strides in ((2, 1, 1, 1), (2, 1, 2, 2))]
    one, other = (QTensor(codes, 0.5, 0, "quint8") for codes in both)
    assert drawn_pooling.everything(one).about != drawn_pooling.everything(other).about
    assert drawing.answer(one).about == drawing.answer(other).about
