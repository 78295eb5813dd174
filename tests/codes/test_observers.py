"""observers.py: PyTorch's scales, zero points and histograms, every bit; bad input is refused by name."""

import inspect
import itertools
import sys
import types
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from oracle import ask, compare, running
from qlearn import Machine, observers, recordings
from qlearn.codes.observers import (
    HistogramObserver,
    MinMaxObserver,
    PerChannelMinMaxObserver,
    choose_qparams,
    quant_range,
)
from qlearn.machine.releases import BOOK, RELEASES, Change
from recorded import Source, each
from strategies import not_integers, not_numbers

f32 = np.float32
MACHINE = Machine("x86", "AVX2", 1)
EXTREMES = (
    "MinMaxObserver",
    "MovingAverageMinMaxObserver",
    "PerChannelMinMaxObserver",
    "MovingAveragePerChannelMinMaxObserver",
)
EVERY = (*EXTREMES, "HistogramObserver")
Case = tuple[str, dict[str, Any], list[Any]]  # observer, options, batches


# Drawing


def values(rng: np.random.Generator, n: int, kind: str) -> Any:
    """n float32 numbers of a kind."""
    m = 10.0 ** rng.uniform(-4, 4)
    draw = {
        "normal": lambda: m * rng.normal(rng.normal(), 1, n),
        "uniform": lambda: m * rng.uniform(-rng.random(), rng.random(), n),
        "heavy": lambda: m * rng.standard_t(rng.uniform(1, 4), n),
        "positive": lambda: m * (rng.gamma(2, size=n) + rng.choice([0, 1])),
        "negative": lambda: -m * (rng.gamma(2, size=n) + rng.choice([0, 1])),
        "relu": lambda: m * np.maximum(rng.normal(size=n), 0),
        "integers": lambda: rng.integers(-rng.integers(1, 300), rng.integers(1, 300), n),
        "narrow": lambda: m * (1 + rng.normal(size=n) * 10.0 ** rng.uniform(-8, -3)),
        "huge": lambda: rng.normal(size=n) * 10.0 ** rng.uniform(28, 33),
        "tiny": lambda: rng.normal(size=n) * 10.0 ** rng.uniform(-36, -8),
        "constant": lambda: np.full(n, m * rng.normal() * rng.choice([0, 1, 1e6])),
        "two": lambda: m * rng.choice(rng.normal(size=2), n),
        "subnormal": lambda: rng.normal(size=n) * 10.0 ** rng.uniform(-45, -38),
    }[kind]
    return np.asarray(draw()).astype(f32)


SPREAD = ("normal", "uniform", "heavy", "positive", "negative", "relu", "integers", "narrow", "huge", "tiny")
FEW_VALUES = ("constant", "two", "subnormal")  # with them PyTorch's histogram search takes a second


def options(rng: np.random.Generator, name: str) -> dict[str, Any]:
    """Options that PyTorch takes."""
    kind = "per_channel" if "PerChannel" in name else "per_tensor"
    chosen: dict[str, Any] = {
        "dtype": str(rng.choice(["quint8", "qint8", "qint32"], p=[0.45, 0.45, 0.1])),
        "qscheme": f"{kind}_{rng.choice(['affine', 'symmetric'])}",
        "reduce_range": bool(rng.integers(2)),
    }
    if chosen["dtype"] == "quint8" and "symmetric" in chosen["qscheme"] and name in EXTREMES:
        chosen["reduce_range"] = False
    if rng.random() < 0.2:
        low, high = quant_range(chosen["dtype"])
        chosen |= {"quant_min": int(rng.integers(low, 1)), "quant_max": int(rng.integers(2, high + 1))}
    if rng.random() < 0.2:
        chosen["eps"] = float(10.0 ** rng.uniform(-44, -1))
    if "MovingAverage" in name:
        chosen["averaging_constant"] = float(rng.choice([0.01, 0.1, 1, rng.random()]))
    if name == "HistogramObserver":
        chosen["bins"] = int(rng.choice([2048, 2048, 256, 1000, 4096, rng.integers(200, 5000)]))
    return chosen


def case(rng: np.random.Generator, name: str, kinds: tuple[str, ...], smallest: int = 1) -> Case:
    """An observer and a sequence of batches: growing, shrinking, repeated, empty."""
    chosen, batches = options(rng, name), []
    axes, channels = int(rng.integers(2, 5)), int(rng.integers(1, 9))
    if "PerChannel" in name:
        chosen["ch_axis"] = int(rng.integers(-axes, axes))
    kind = rng.choice(kinds)
    for _ in range(rng.choice([1, 1, 2, 3, 6])):
        if rng.random() < 0.3:
            kind = rng.choice(kinds)
        n = max(smallest, int(rng.choice([1, 2, 3, 10, 100, 1000, rng.integers(1, 5000)])))
        x = values(rng, n, kind)
        if batches and rng.random() < 0.2:
            x = batches[-1].ravel() * f32(rng.choice([1, 1, 3]))
        if "PerChannel" in name:
            shape = np.ones(axes, int)
            shape[[0, -1]] = channels, -(-x.size // channels)
            x = np.moveaxis(np.resize(x, shape), 0, chosen["ch_axis"])
        batches.append(x)
    if rng.random() < 0.05:
        batches.insert(int(rng.integers(len(batches) + 1)), batches[0][:0])
    return name, chosen, batches


# Answers: scale, zero point, min_val, max_val; of a histogram also the counts and the chosen range


def theirs(cases: list[Case]) -> Any:
    """PyTorch's answers, or the name of the error that it raises."""
    import torch

    warnings.filterwarnings("ignore", message="Please use quant_min")
    found: list[Any] = []
    for name, given_options, batches in cases:
        named = {k: getattr(torch, v) if isinstance(v, str) else v for k, v in given_options.items()}
        observer = getattr(torch.ao.quantization, name)(**named)
        try:
            for x in batches:
                assert observer(torch.from_numpy(np.ascontiguousarray(x))) is not None
            if name == "HistogramObserver":  # slow: search once
                chosen = observer._non_linear_param_search()
                observer._non_linear_param_search = lambda chosen=chosen: chosen
            answer = [*observer.calculate_qparams(), observer.min_val, observer.max_val]
            if name == "HistogramObserver":
                answer += [observer.histogram, torch.stack(chosen)]
            found.append([a.numpy() for a in answer])
        except AssertionError as error:
            found.append(str(error))
    return found


def ours(case: Case, machine: Machine = MACHINE, module: Any = observers) -> list[Any]:
    """qlearn's answers."""
    name, given_options, batches = case
    where = {"machine": machine} if name == "HistogramObserver" else {}
    observer = getattr(module, name)(**given_options, **where)
    for x in batches:
        assert observer(x) is x
    if name == "HistogramObserver":
        found = observer.search()
        observer.search = lambda: found
    answer = [*observer.calculate_qparams(), observer.min_val, observer.max_val]
    if name == "HistogramObserver":
        answer += [observer.histogram, np.array([found.min_val, found.max_val]), np.array(found.steps)]
    return answer


def check(capability: str, cases: list[Case], threads: int = 1) -> None:
    """Compare all answers to all cases; PyTorch's zero point may be int32."""
    for case, answer in zip(cases, ask(capability, theirs, cases, threads=threads), strict=True):
        name, given_options, batches = case
        what = (capability, given_options, [(x.shape, x.min(), x.max()) for x in batches if x.size])
        if isinstance(answer, str):
            assert "should be less than max" in answer, what
            with pytest.raises(ValueError, match="the minimum is above the maximum"):
                ours(case, running("x86", capability))
            continue
        try:
            mine = ours(case, running("x86", capability))
        except ValueError as error:  # PyTorch's own zero point is then the nonsense of an overflow
            assert "overflows int32" in str(error) and given_options["dtype"] == "qint32", what
            continue
        answer[1] = answer[1].astype(np.int64)
        parts = ("scale", "zero point", "min_val", "max_val", "histogram", "chosen range")
        for part, mine_part, their_part in zip(parts, mine, answer, strict=False):
            compare(f"{name}, {part}", mine_part, their_part, what)
        oracle.COMPARED["observers, tensors observed"] += len(batches)


# Equal to PyTorch


@pytest.mark.torch
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", EXTREMES)
def test_extremes_equal_pytorch(capability: str, name: str, threads: int, rng: np.random.Generator) -> None:
    cases = [case(rng, name, SPREAD + FEW_VALUES) for _ in range(220)]
    check(capability, cases, threads)


@pytest.mark.torch
@pytest.mark.parametrize("threads", [1, 2])
def test_histograms_equal_pytorch(capability: str, threads: int, rng: np.random.Generator) -> None:
    cases = [case(rng, "HistogramObserver", SPREAD[:7], 1500) for _ in range(7)]
    check(capability, [*cases, case(rng, "HistogramObserver", SPREAD[7:], 1500)], threads)


def histc(constants: Any, bins: int) -> Any:
    """torch.histc of three equal values, for each constant."""
    import torch

    return np.array([torch.histc(torch.full((3,), v), bins, min=v, max=v).numpy() for v in constants.tolist()])


@pytest.mark.torch
def test_histograms_of_constants_equal_pytorch(capability: str, rng: np.random.Generator) -> None:
    """A range of 1 on each side; beyond 2**24, of one float32 step on each side."""
    any_size = rng.normal(size=400) * 10.0 ** rng.uniform(-9, 33, 400)
    edges = 2.0 ** rng.integers(20, 30, 100) * (1 + rng.integers(-3, 4, 100) * 2.0**-24)
    constants = np.concatenate([any_size, edges]).astype(f32)
    machine = Machine("x86", capability, 1)
    mine = np.array([observers._histc(np.full(3, v), 1000, v, v, machine) for v in constants])
    compare("histogram of a constant", mine, ask(capability, histc, constants, 1000))


@pytest.mark.torch
def test_large_tensors_equal_pytorch(capability: str, rng: np.random.Generator) -> None:
    x = [values(rng, n, kind) for n, kind in ((70_001, "normal"), (300_000, "heavy"), (131_072, "relu"))]
    check(capability, [(name, {}, x) for name in EVERY if "PerChannel" not in name], threads=2)
    rows = [a[:70_000].reshape(7, 10_000) for a in x]
    check(capability, [(name, {"ch_axis": axis}, rows) for name in EXTREMES[2:] for axis in (0, 1)], threads=2)


GROWTH = [np.linspace(-1, 1, 999, dtype=f32) ** 3 * f32(k) + f32(c) for k, c in ((1, 0), (1.1, 0.3), (7, -3), (0.1, 0))]
HISTOGRAMS: list[Case] = [
    ("HistogramObserver", {}, GROWTH),
    ("HistogramObserver", {"bins": 1}, GROWTH),
    ("HistogramObserver", {"bins": 31}, GROWTH),
    ("HistogramObserver", {"bins": 100, "dtype": "qint32", "qscheme": "per_tensor_symmetric"}, GROWTH),
    ("HistogramObserver", {"qscheme": "per_tensor_symmetric", "reduce_range": True}, GROWTH),
    ("HistogramObserver", {}, [np.full(3, 0.7, f32), *GROWTH]),  # one value, then a range
    ("HistogramObserver", {}, [np.full(3, v, f32) for v in (2**24, 2**24, 2**25 + 8)]),
    ("HistogramObserver", {"eps": 1e-45}, [np.array([-3, 5], f32) * f32(1e-42), np.array([-9, 700], f32) * f32(1e-42)]),
    ("HistogramObserver", {}, [GROWTH[0] + f32(1e4), GROWTH[0] + f32(1.0001e4), GROWTH[1] + f32(1e4)]),
]


@pytest.mark.torch
def test_hard_histograms_equal_pytorch(capability: str) -> None:
    """One bin, few bins, one value, values whose neighbours are 2 and 4 away, a range of some thousand subnormals."""
    check(capability, HISTOGRAMS + FAST_HISTOGRAMS)


def extreme_cases() -> list[Case]:
    """The same ones each time: hard ones by hand, and 400 drawn."""
    rng = np.random.default_rng(0)
    hard = [[0, 0], [1, 2], [-2, -1], [-1, 1], [-1e-9, 1e-9], [-1e38, 1e38], [-0.5, 254.5], [-2.5, 252.5], [3, 3]]
    two = [[f32(-1.3)] * 2, [f32(0.7), f32(2.9)]]
    return [
        (
            "MinMaxObserver",
            {},
            [np.array([-0.2395441234111786, 1.306879997253418], f32)],
        ),  # 39.5 steps in float32 alone
        *[("MinMaxObserver", {"dtype": d}, [np.array(x, f32)]) for x in hard for d in ("quint8", "qint8")],
        ("MinMaxObserver", {"qscheme": "per_tensor_symmetric"}, [np.array([-3e38, 3e38], f32)]),
        ("MinMaxObserver", {"qscheme": "per_tensor_symmetric"}, [np.array([-1e-9, 0], f32)]),
        ("MinMaxObserver", {"eps": 1e-45}, [np.array([-357, 0], f32) * f32(1e-45)]),
        ("MovingAverageMinMaxObserver", {"averaging_constant": 0.1}, [np.array(x, f32) for x in two]),
        *[case(rng, name, SPREAD) for name in EXTREMES for _ in range(100)],
    ]


@pytest.mark.torch
def test_hard_extremes_equal_pytorch(capability: str) -> None:
    check(capability, extreme_cases())


@pytest.mark.torch
def test_where_pytorch_answers_with_nonsense_we_raise() -> None:
    """The ValueErrors of the module's docstring: what PyTorch gives instead."""
    big = [np.array([-1e36, 0, 1e36], f32)]
    nan, inf, wide, down = ([np.array(x, f32)] for x in ([1, np.nan], [1, np.inf], [-3e38, 3e38], [-1000, 0]))
    cases: list[Case] = [("MinMaxObserver", {}, x) for x in (nan, inf, wide)]
    cases += [("MinMaxObserver", {"dtype": "qint32"}, down), ("HistogramObserver", {}, big)]
    capability = next(c for c in reversed(oracle.CAPABILITIES) if not oracle.unavailable(c))
    found = ask(capability, theirs, cases)
    assert [bool(np.isfinite(answer[0][0])) for answer in found[:3]] == [False] * 3
    assert found[3][1] == 0  # a range that ends at 0 needs the largest zero point
    assert found[4][4].nonzero()[0].tolist() == [0]  # all values in bin 0
    for one in cases:
        with pytest.raises(ValueError, match=r"NaN or infinite|overflows"):
            ours(one)


@each("observers")
def test_recorded(source: Source) -> None:
    r, machine = source.arrays, source.machine("x86")
    for i, kind in itertools.product(range(5), ("tensor", "channel")):
        x = recordings.load("range")[f"avx2/{i}/x"]
        batches = list(x.reshape(10, 400) if kind == "tensor" else x.reshape(2, 8, 250))
        for (name, dtype, qscheme, reduce_range), row in zip(r[kind], r[f"{i}/{kind}"], strict=True):
            named = {"dtype": str(dtype), "qscheme": str(qscheme), "reduce_range": reduce_range == "True"}
            mine = [np.asarray(a, float).ravel() for a in ours((str(name), named, batches), machine)[:4]]
            compare(f"{name}, recorded", np.array(mine).squeeze(), row, named)
    for i, (row, parts) in itertools.product(range(5), enumerate((1, 10))):
        observer = HistogramObserver(machine=machine)
        for batch in recordings.load("range")[f"avx2/{i}/x"].reshape(parts, -1):
            observer(batch)
        found = observer.search()
        compare("HistogramObserver, recorded histogram", observer.histogram, r[f"{i}/histogram"][row])
        least = min(error for _, _, error in found.steps)
        chosen = np.array([found.min_val, found.max_val, least], float)
        compare("HistogramObserver, recorded range", chosen, r[f"{i}/chosen"][row])
        kept = next(error for start, end, error in found.steps if (start, end) == (found.start_bin, found.end_bin))
        assert kept == least


# Each release


def spread(n: int, low: float, high: float) -> Any:
    """n values, most of them near the middle of [low, high]: mixed integers, cubed in float64, rounded once."""
    t = 2 * (np.arange(n) * 7919 % n) / (n - 1) - 1
    return ((low + high) / 2 + (high - low) / 2 * t * t * t).astype(f32)


CHOSEN: dict[str, tuple[str, int, list[Any]]] = {  # capability, bins, batches
    "grows": ("AVX2", 2048, [spread(3000, -1.7, 2.9), spread(2000, -2.3, 3.1), spread(2500, -2.4, 7.7)]),
    "hardly grows": ("AVX2", 300, [spread(2000, -0.37, 0.9 + k / 1000) for k in (10, 10.2, 10.2, 20)]),
    "grows tenfold": ("AVX2", 1000, [spread(1500, 0.1, 1.16), spread(1500, -7, 2.16)]),
    "within": ("AVX2", 2048, [spread(3000, -3, 5), spread(3000, -0.4, 0.5), spread(2000, -3, 4)]),
    "last of a vector": ("AVX2", 31, [spread(1000, -0.67, 0.91)]),
    "last of a wide vector": ("AVX512", 31, [spread(1000, -0.15, 0.91)]),
    "near the edges": ("AVX2", 1000, [spread(5000, -0.15, 0.91)]),
    "one value first": ("AVX2", 2048, [np.full(500, 2.3, f32), spread(3000, -1.1, 2.5), spread(3000, -1.2, 2.5)]),
    "close first": ("AVX2", 255, [spread(100, 0.3, 0.3000004), spread(3000, -1, 2), spread(3000, -1.5, 2)]),
    "stays close": ("AVX2", 255, [spread(100, -n * 1e-7, (3 + n) * 1e-7) for n in (0, 1, 2)]),
    "close, then far": ("AVX2", 2048, [spread(1000, 0, 3e-6), spread(2000, -0.5, 1.5)]),
    "a large value": ("AVX2", 255, [np.full(3, 2.0**26 - 4, f32)]),
    "few bins": ("AVX2", 5, [spread(1000, -1, 3), spread(1000, -1, 3.5)]),
    "wide sums": ("AVX512", 500, [spread(1000, -n, 2 * n) for n in (1, 2, 3, 4)]),
}
"""Batches of a HistogramObserver on which neighbouring releases part."""

Answer = tuple[str, int, int, str]  # scale, zero point, CRC-32 of the histogram, error of the range without both ends
RECORDED: dict[str, dict[str, Answer | None]] = {
    "grows": {
        "1.13": ("0x1.4559860000000p-5", 60, 3571902859, "0x1.973a600000000p+7"),
        "2.0": ("0x1.42ce820000000p-5", 61, 3239205012, "0x1.9ff2940000000p+7"),
        "2.5": ("0x1.42e2160000000p-5", 61, 3820146489, "0x1.a49bdc0000000p+7"),
    },
    "hardly grows": {
        "1.13": ("0x1.4953260000000p-8", 74, 3074218853, "0x1.7ff5000000000p+2"),
        "2.0": ("0x1.4953260000000p-8", 74, 3494249753, "0x1.70311c0000000p+2"),
        "2.4": ("0x1.4953260000000p-8", 74, 1846591772, "0x1.161c980000000p+2"),
        "2.5": ("0x1.4953260000000p-8", 74, 1309570437, "0x1.705c7a0000000p+2"),
    },
    "grows tenfold": {
        "1.13": ("0x1.259f340000000p-5", 195, 1123306119, "0x1.e632b40000000p+5"),
        "2.0": ("0x1.259f340000000p-5", 195, 1787377354, "0x1.e72ea20000000p+5"),
        "2.3": ("0x1.259f340000000p-5", 195, 3659307159, "0x1.e72e660000000p+5"),
        "2.5": ("0x1.25f9a80000000p-5", 195, 1869407454, "0x1.ebab000000000p+5"),
    },
    "within": {
        "1.13": ("0x1.00a0a00000000p-5", 96, 1303527287, "0x1.fab3580000000p+6"),
        "2.4": ("0x1.0020200000000p-5", 96, 143381293, "0x1.6d617a0000000p+6"),
        "2.5": ("0x1.00a0a00000000p-5", 96, 1303527287, "0x1.fab3580000000p+6"),
    },
    "last of a vector": {
        "1.13": ("0x1.88f7a00000000p-8", 112, 1361558079, "0x1.14479c0000000p-1"),
        "2.0": ("0x1.88f7a00000000p-8", 112, 468035694, "0x1.1d07f80000000p-1"),
    },
    "last of a wide vector": {
        "1.13": ("0x1.07a2e20000000p-8", 37, 1361558079, "0x1.f166c00000000p-3"),
        "2.0": ("0x1.07a2e20000000p-8", 37, 468035694, "0x1.00941a0000000p-2"),
        "2.1": ("0x1.07a2e20000000p-8", 37, 468035694, "0x1.0094180000000p-2"),
    },
    "near the edges": {
        "1.13": ("0x1.0f55a00000000p-8", 36, 2807594115, "0x1.54ddf80000000p+1"),
        "2.0": ("0x1.0f55a00000000p-8", 36, 1122584094, "0x1.54ddee0000000p+1"),
    },
    "one value first": {
        "1.13": ("0x1.dc21ba0000000p-7", 82, 2128305758, "0x1.fe7fce0000000p+4"),
        "2.0": ("0x1.da804c0000000p-7", 83, 2942647813, "0x1.09d2b40000000p+5"),
        "2.5": ("0x1.dac2c20000000p-7", 83, 2584980694, "0x1.f523840000000p+7"),
        "2.9": ("0x1.dac2c20000000p-7", 83, 4088002834, "0x1.19dad40000000p+6"),
    },
    "close first": {
        "1.13": None,
        "2.4": ("0x1.c038b00000000p-7", 110, 2309782286, "0x1.8027560000000p+4"),
        "2.5": ("0x1.bffe3c0000000p-7", 110, 2286996253, "0x1.97fae00000000p+4"),
    },
    "stays close": {
        "1.13": ("0x1.0000000000000p-23", 2, 2522171686, "0x1.05da960000000p-45"),
        "2.0": ("0x1.0000000000000p-23", 2, 221573510, "0x1.fe4fbc0000000p-46"),
        "2.4": ("0x1.0000000000000p-23", 2, 2369790613, "0x1.042e640000000p-45"),
        "2.5": ("0x1.0000000000000p-23", 2, 2014807638, "0x1.04cd1a0000000p-45"),
    },
    "close, then far": {
        "1.13": None,
        "2.4": ("0x1.0020200000000p-7", 64, 2852099297, "0x1.e9c1820000000p+1"),
        "2.5": ("0x1.ff7f800000000p-8", 64, 630076924, "0x1.ea0a6e0000000p+1"),
    },
    "a large value": {
        "1.13": ("0x1.0101000000000p+18", 0, 609858278, "0x0.0p+0"),
        "2.10": ("0x1.0101000000000p+18", 0, 3849976784, "0x0.0p+0"),
    },
    "few bins": {
        "1.13": ("0x1.ce9b680000000p-7", 71, 1481987367, "0x1.9c63cc0000000p-5"),
        "2.0": ("0x1.ce9b680000000p-7", 71, 3550450607, "0x1.a502040000000p-5"),
    },
    "wide sums": {
        "1.13": ("0x1.80b6ba0000000p-5", 85, 3554402354, "0x1.1b3ed40000000p+6"),
        "2.0": ("0x1.7ff0f60000000p-5", 85, 4122552223, "0x1.1647e80000000p+6"),
        "2.1": ("0x1.7ff0f60000000p-5", 85, 4122552223, "0x1.1647ec0000000p+6"),
        "2.5": ("0x1.7f31600000000p-5", 86, 438235385, "0x1.1a023e0000000p+6"),
    },
}
"""PyTorch's answers, from the named release on up to the next one named; None: its memory was not enough."""


def recorded(case: str, release: str) -> Answer | None:
    """What PyTorch answered in a release: as in the last one, up to it, that has a row."""
    return [RECORDED[case][r] for r in RELEASES[: RELEASES.index(release) + 1] if r in RECORDED[case]][-1]


def observed(case: str, release: str) -> HistogramObserver:
    """The chosen batches, seen by an observer of a release."""
    capability, bins, batches = CHOSEN[case]
    observer = HistogramObserver(bins=bins, machine=Machine("x86", capability, 1, release=release))
    for x in batches:
        observer(x)
    return observer


def answer_of(observer: HistogramObserver) -> Answer:
    scale, zero_point = observer.calculate_qparams()
    end = observer.bins // 8
    error = observers._sum(observer.bin_errors(end, observer.bins - 1 - end), observer.machine)
    return float(scale[0]).hex(), int(zero_point[0]), zlib.crc32(observer.histogram.tobytes()), float(error).hex()


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("case", CHOSEN)
def test_each_release(case: str, release: str) -> None:
    """PyTorch's scale, zero point, histogram and error in each release, as they were recorded there."""
    expected = recorded(case, release)
    if expected is None:
        with pytest.raises(ValueError, match=r"x widens the range .*-fold: PyTorch needs \d+ bytes"):
            observed(case, release)
        return
    found = answer_of(observed(case, release))
    for part, mine, theirs_ in zip(("scale", "zero point", "histogram", "error"), found, expected, strict=True):
        compare(f"HistogramObserver of each release, {part}", mine, theirs_, (case, release))


CHANGES = [name for name, value in vars(observers).items() if isinstance(value, Change)]


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_shows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, a chosen input has another answer than PyTorch gave, in a release in which it holds."""
    change, holds = getattr(observers, name), Machine.has
    last = [(case, change.last) for case in CHOSEN if recorded(case, change.last)]
    assert all(answer_of(observed(case, release)) == recorded(case, release) for case, release in last)
    monkeypatch.setattr(Machine, "has", lambda self, asked: asked is not change and holds(self, asked))
    assert any(answer_of(observed(case, release)) != recorded(case, release) for case, release in last)


def test_the_machine_says_which_release() -> None:
    """A patch level changes nothing, no machine is the default one; rows stand only where a change begins or ends."""
    assert answer_of(observed("within", "2.4.1")) == recorded("within", "2.4") != recorded("within", BOOK)
    plain = HistogramObserver()
    for x in CHOSEN["within"][2]:
        plain(x)
    assert float(plain.calculate_qparams()[0][0]).hex() == recorded("within", BOOK)[0]  # type: ignore[index]
    changes = [getattr(observers, name) for name in CHANGES]
    after = [RELEASES[RELEASES.index(change.last) + 1] for change in changes]
    rows = {release for case in CHOSEN for release in RECORDED[case]}
    assert rows == {change.first for change in changes} | set(after)


# Each step matters

MUTATIONS = {
    "0 is not in the range, low": ("np.minimum(minimum, f32(0))", "minimum"),
    "0 is not in the range, high": ("np.maximum(maximum, f32(0))", "maximum"),
    "no eps": ("    scale = np.maximum(scale, smallest)\n    steps", "    steps"),
    "no eps, symmetric": ("        scale = np.maximum(scale, smallest)\n        middle", "        middle"),
    "width in float64": (
        "width / f32(high - low)",
        "((maximum.astype(float) - minimum.astype(float)) / (high - low)).astype(f32)",
    ),
    "one integer too many": ("width / f32(high - low)", "width / f32(high - low + 1)"),
    "one integer too many, symmetric": ("f32((high - low) / 2)", "f32((high - low + 1) / 2)"),
    "ties away from zero": ("np.rint(minimum / scale)", "-np.floor(f32(0.5) - minimum / scale)"),
    "ties in float64": ("np.rint(minimum / scale)", "np.rint(minimum.astype(float) / scale)"),
    "reciprocal": ("np.rint(minimum / scale)", "np.rint(minimum * (f32(1) / scale))"),
    "no clamp": ("np.clip(zero_point, low, high)", "zero_point"),
    "zero point 127": ("else 128", "else 127"),
    "halves rounded up": ("low // 2, high // 2", "-(-low // 2), -(-high // 2)"),
    "average in float64": (
        "np.asarray(self.min_val + weight * change_of_min)",
        "np.asarray(f32(float(self.min_val) + float(weight) * float(change_of_min)) if self.min_val.ndim == 0 "
        "else self.min_val + weight * change_of_min)",
    ),
    "average of both": (
        "self.max_val + weight * change_of_max",
        "(f32(1) - weight) * self.max_val + weight * x_max",
    ),
}
HISTOGRAM_MUTATIONS = {
    "divide before multiplying": ("distances * f32(bins) / width", "distances / width * f32(bins)"),
    "the last edge is left out": ("np.minimum(places.astype(np.int64), bins - 1)", "places.astype(np.int64) % bins"),
    "fused": ('fused=self.machine.capability != "DEFAULT"', "fused=False"),
    "not in 16 parts": ("np.repeat(self.histogram, 16) / f32(16)", "np.repeat(self.histogram, 16) / f32(8)"),
    "not the middles": ("[:-1] + f32(0.5) * width", "[:-1]"),
    "edge to the left": ("self.bins + 1), middles) - 1", "self.bins + 1), middles)"),
    "linspace from one end": ("np.where(index < points // 2, up, down)", "up"),
    "quantiles in float64": ("f32((alpha + step) * total)", "(alpha + step) * total"),
    "cumulated in float32": ("dtype=np.float64).astype(f32)", "dtype=f32)"),
    "sum in NumPy's order": ("    vectors = values.size", "    return f32(values.sum())\n    vectors = values.size"),
    "sum in 16 lanes": ("machine.has(SUM_IN_16_LANES) else 8", "machine.has(SUM_IN_16_LANES) else 16"),
    "few values in lanes too": ("if values.size >= lanes else 1", "if True else 1"),
    "density in float64": ("self.histogram / width\n", "(self.histogram.astype(float) / width64).astype(f32)\n"),
    "128 integers": ("else 256", "else 128"),
    "stops later": ("if error > least:", "if error > least * 1.01:"),
    "takes the other end": ("if left - start > end - right", "if left - start >= end - right"),
    "no middle of the last step": ("(last * step + half)", "(last * step)"),
}


def grown(seed: int) -> list[Any]:
    """Eight batches with heavy tails, each a little wider: counts become fractions that a float32 sum rounds."""
    x = values(np.random.default_rng(seed), 25_000, "heavy")
    return [x * f32(1.013**k) for k in range(8)]


FAST_HISTOGRAMS: list[Case] = [
    HISTOGRAMS[0],
    HISTOGRAMS[8],
    ("HistogramObserver", {"bins": 3000}, [np.arange(3001, dtype=f32) * f32(0.1)]),  # on the edges
    ("HistogramObserver", {}, [np.linspace(0, 0.7 * k, 2001, dtype=f32) for k in (1, 33 / 32)]),  # middles on edges
    *[("HistogramObserver", {}, grown(seed)) for seed in (8, 12)],
    *[("HistogramObserver", {"bins": bins}, GROWTH) for bins in (5, 6, 7)],  # fewer than a vector of a sum
]


def answers(cases: list[Case], module: Any) -> list[Any]:
    found: list[Any] = []
    for one in cases:
        try:
            found += [a.tolist() for a in ours(one, module=module)]
        except (ValueError, IndexError) as error:
            found.append(type(error).__name__)
    return found


def mutant(old: str, new: str) -> types.ModuleType:
    """The module with one step changed."""
    source = inspect.getsource(observers)
    assert source.count(old) == 1, f"{source.count(old)} times: {old}"
    module = types.ModuleType("qlearn.observers_mutant")
    sys.modules[module.__name__] = module
    try:
        exec(compile(source.replace(old, new), "mutant", "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]
    return module


@pytest.fixture(scope="module")
def right() -> dict[str, Any]:
    return {
        "extremes": answers(extreme_cases(), observers),
        "histograms": answers(FAST_HISTOGRAMS, observers),
        "releases": answers_of_releases(observers),
    }


@pytest.mark.parametrize("step", MUTATIONS)
def test_each_step_of_the_scale_matters(step: str, right: dict[str, Any]) -> None:
    with np.errstate(all="ignore"):
        assert answers(extreme_cases(), mutant(*MUTATIONS[step])) != right["extremes"]


@pytest.mark.parametrize("step", HISTOGRAM_MUTATIONS)
def test_each_step_of_the_histogram_matters(step: str, right: dict[str, Any]) -> None:
    with np.errstate(all="ignore"):
        assert answers(FAST_HISTOGRAMS, mutant(*HISTOGRAM_MUTATIONS[step])) != right["histograms"]


RELEASE_MUTATIONS = {
    "ends rounded down": ("np.trunc(low), np.trunc(high)", "np.floor(low), np.floor(high)"),
    "rate rounded to nearest, 1.13": ("np.ceil(new / (bins * width))", "np.rint(new / (bins * width))"),
    "rate rounded to nearest, to 2.2": ("np.ceil(new * thin / old)", "np.rint(new * thin / old)"),
    "rate rounded to nearest, to 2.4": ("np.ceil(new / old * thin)", "np.rint(new / old * thin)"),
    "not stretched": ("high = high + (filled - new)", "high = high + f32(0)"),
    "shift rounded down": ("int(np.rint(shift))", "int(np.floor(shift))"),
    "lower neighbour in float64": ("[[0], below[:-1]]).astype(f32)", "[[0], below[:-1]])"),
    "cumulated in float32": ("(self.histogram, THIN), dtype=np.float64)", "(self.histogram, THIN), dtype=f32)"),
    "narrow ranges kept": ("width < f32(1e-6)", "width < 0"),
    "thin bins never too many": ("4 * self.bins * rate > 1e9", "4 * self.bins * rate > 1e99"),
    "one value kept": ("HISTOGRAM_STRETCHED) and width == 0", "HISTOGRAM_STRETCHED) and width < 0"),
    "vectors one by one": ("(bins + 1) % (2 * lanes)", "(bins + 1) % lanes + 1"),
    "first of a vector in two roundings": ("fma(-step, steps, stop)", "stop - step * steps"),
}


def answers_of_releases(module: Any) -> list[Any]:
    """Of the releases in which a form of the histogram ends; without the inputs that PyTorch has no memory for."""
    found: list[Any] = []
    for case, release in itertools.product(CHOSEN, ("1.13", "2.0", "2.2", "2.4")):
        capability, bins, batches = CHOSEN[case]
        try:
            found += [
                a.tolist()
                for a in ours(
                    ("HistogramObserver", {"bins": bins}, batches),
                    Machine("x86", capability, 1, release=release),
                    module,
                )
            ]
        except ValueError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize("step", RELEASE_MUTATIONS)
def test_each_step_of_each_release_matters(step: str, right: dict[str, Any]) -> None:
    with np.errstate(all="ignore"):
        assert answers_of_releases(mutant(*RELEASE_MUTATIONS[step])) != right["releases"]


# Bad input


BAD_OPTIONS = {
    "dtype": st.one_of(st.sampled_from(["int8", "quint4x2", ""]), st.none(), st.integers()),
    "qscheme": st.sampled_from(["per_tensor", "affine", "", "symmetric"]),
    "reduce_range": st.one_of(st.integers(), st.text(), st.none()),
    "quant_min": st.one_of(not_integers.filter(lambda v: v is not None), st.integers(max_value=-256), st.integers(1)),
    "quant_max": st.one_of(
        not_integers.filter(lambda v: v is not None), st.integers(min_value=256), st.integers(max_value=-1)
    ),
    "eps": st.one_of(not_numbers, st.sampled_from([0.0, -1.0, 1e-46, 1e39, np.inf, np.nan])),
    "averaging_constant": st.one_of(not_numbers, st.sampled_from([-0.1, 1.1, np.inf, np.nan])),
    "ch_axis": not_integers,
    "bins": st.one_of(not_integers, st.integers(max_value=0)),
    "machine": st.one_of(st.text(), st.integers()),
}


@pytest.mark.parametrize("option", BAD_OPTIONS)
@given(data=st.data())
def test_bad_options_are_named(option: str, data: Any) -> None:
    takers = {
        "averaging_constant": ("MovingAverageMinMaxObserver", "MovingAveragePerChannelMinMaxObserver"),
        "ch_axis": EXTREMES[2:],
        "bins": ("HistogramObserver",),
        "machine": ("HistogramObserver",),
    }
    value = data.draw(BAD_OPTIONS[option])
    others = {"quant_min": {"quant_max": 1}, "quant_max": {"quant_min": 0}}.get(option, {})
    for name in takers.get(option, EVERY):
        with pytest.raises((ValueError, TypeError), match=f"^{option} is |{option} is "):
            getattr(observers, name)(**{option: value}, **others)


@pytest.mark.parametrize("name", EVERY)
def test_options_that_do_not_go_together(name: str) -> None:
    make = getattr(observers, name)
    with pytest.raises(ValueError, match="quant_min is None and quant_max is 7; give both"):
        make(quant_max=7)
    with pytest.raises(ValueError, match="a single integer"):
        make(quant_min=0, quant_max=1, reduce_range=True)
    with pytest.raises(TypeError, match="quantmin"):
        make(quantmin=0)
    other = "per_tensor_affine" if "PerChannel" in name else "per_channel_affine"
    with pytest.raises(ValueError, match=f"qscheme is '{other}'; allowed are"):
        make(qscheme=other)
    with pytest.raises(NotImplementedError, match="float zero point"):
        make(qscheme="per_channel_affine_float_qparams")
    if name != "HistogramObserver":
        with pytest.raises(NotImplementedError, match="reduce_range=True with dtype 'quint8'"):
            make(qscheme="per_channel_symmetric" if "PerChannel" in name else "per_tensor_symmetric", reduce_range=True)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_change_nothing(name: str, bad: float) -> None:
    observer = getattr(observers, name)()
    x = np.array([[1, 2], [3, 4]], f32)
    observer(x)
    before = [a.tolist() for a in observer.calculate_qparams()]
    with pytest.raises(ValueError, match="x has 1 values that are NaN or infinite; all of its 4"):
        observer(np.array([[9, bad], [9, 9]], f32))
    assert [a.tolist() for a in observer.calculate_qparams()] == before


@pytest.mark.parametrize("name", EVERY)
@given(kind=st.sampled_from(["f2", "f8", "i4", "u1", "?", "c8", "O"]))
def test_other_dtypes(name: str, kind: str) -> None:
    observer = getattr(observers, name)()
    with pytest.raises(TypeError, match="float32 is needed"):
        observer(np.ones((2, 2), kind))
    with pytest.raises(TypeError, match="x is a list; a NumPy array is needed"):
        observer([1.0])


@pytest.mark.parametrize("name", EVERY)
def test_nothing_observed(name: str) -> None:
    observer = getattr(observers, name)()
    x = np.empty((0, 3), f32)
    assert observer(x) is x
    with pytest.raises(ValueError, match=f"{name} has observed no values yet"):
        observer.calculate_qparams()
    assert name in repr(observer)


def test_channels() -> None:
    observer = PerChannelMinMaxObserver(ch_axis=1)
    with pytest.raises(ValueError, match=r"x has shape \(3,\); two axes or more"):
        observer(np.ones(3, f32))
    with pytest.raises(ValueError, match="an axis ch_axis=2"):
        PerChannelMinMaxObserver(ch_axis=2)(np.ones((2, 2), f32))
    observer(np.ones((2, 3), f32))
    with pytest.raises(ValueError, match="x has 2 channels; the batches before it had 3"):
        observer(np.ones((2, 2), f32))


def test_ranges() -> None:
    one, two, nan = (np.array(v, f32) for v in (1, 2, np.nan))
    with pytest.raises(ValueError, match="the minimum is above the maximum"):
        choose_qparams(two, one)
    with pytest.raises(ValueError, match="min_val is nan; it must be finite"):
        choose_qparams(nan, one)
    with pytest.raises(TypeError, match="max_val has dtype float64"):
        choose_qparams(one, 2.0)
    with pytest.raises(
        ValueError, match=r"min_val has shape \(2,\) and max_val \(2,\); per_tensor_affine needs one of each"
    ):
        choose_qparams(np.zeros(2, f32), np.ones(2, f32))
    with pytest.raises(ValueError, match="overflows float32"):
        choose_qparams(f32(-3e38), f32(3e38))
    with pytest.raises(ValueError, match="their distance from the average overflows float32"):
        moving = observers.MovingAverageMinMaxObserver()
        moving(np.array([-3e38, -3e38], f32))
        moving(np.array([3e38, 3e38], f32))


def test_the_histogram_shown() -> None:
    observer = HistogramObserver(bins=4)
    with pytest.raises(ValueError, match="observed no values"):
        observer.bin_edges()
    observer(np.array([0, 1, 2, 8], f32))
    assert observer.histogram.tolist() == [2, 1, 0, 1] and observer.bin_edges().tolist() == [0, 2, 4, 6, 8]
    for bins in ((-1, 3), (0, 4), (3, 2)):
        with pytest.raises(ValueError, match=r"(start|end)_bin is "):
            observer.bin_errors(*bins)
    with pytest.raises(NotImplementedError, match="bins is 32768"):
        HistogramObserver(bins=2**15)
    with pytest.raises(ValueError, match="overflows float32"):
        HistogramObserver()(np.array([-1e36, 1e36], f32))
    many = np.zeros(2**24 + 2, f32)
    many[0] = 1
    with pytest.raises(NotImplementedError, match="float32 counts end at 16777216"):
        HistogramObserver(bins=2)(many)
    assert MinMaxObserver()(many) is many
