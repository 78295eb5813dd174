"""pools.py: averages in integers are qlearn's, and float32 means where they are proved to be."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import qlearn
from qlearn import Machine, QTensor
from qlearn.integers import Codes, Thresholds, Unproven, adaptive_avg_pool2d, avg_pool2d, mean
from qlearn.machine.machine import BODY, CAPABILITIES, TAIL

MACHINES = [Machine("fbgemm", capability, 1, release=r) for capability in CAPABILITIES for r in ("2.14", "2.13")]
MACHINES.append(Machine("qnnpack", "AVX2", 1))
EIGHTS = {"DEFAULT": 0, "AVX2": 8, "AVX512": 16}
DTYPES = {"quint8": np.uint8, "qint8": np.int8}


def images(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, *, last: bool) -> tuple[QTensor, Codes]:
    """Pictures whose sums are everywhere, and the codes that they hold."""
    info = np.iinfo(DTYPES[dtype])
    z = int(rng.integers(info.min, info.max + 1))
    level = rng.integers(info.min, info.max + 1, (*shape[:2], 1, 1))
    q = np.clip(level + rng.integers(-9, 10, shape), info.min, info.max).astype(DTYPES[dtype])
    q = np.moveaxis(np.ascontiguousarray(np.moveaxis(q, 1, -1)), -1, 1) if last else q
    return QTensor(q, 0.03, z, dtype), Codes(0.03, z, int(info.min), int(info.max))


def same(wanted: Any, sums: Any, body: Any, tail: Any, eights: int) -> None:
    """The channels in whole vectors are the body's, the others the tail's."""
    split = sums.shape[1] // eights * eights if eights else 0
    assert np.array_equal(body.codes(sums[:, :split]), wanted[:, :split])
    assert np.array_equal(tail.codes(sums[:, split:]), wanted[:, split:])


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize("last", [False, True])
def test_average_pools(machine: Machine, last: bool, rng: np.random.Generator) -> None:
    """Windows of several sizes; every sum that they can have is looked at too."""
    for dtype in ("quint8", "qint8"):
        for kernel in ((2, 2), (3, 3), (1, 5)):
            x, codes = images(rng, (3, 37, 12, 10), dtype, last=last)
            n = kernel[0] * kernel[1]
            wanted = qlearn.avg_pool2d(x, kernel, machine=machine).int_repr()
            body, tail = (
                avg_pool2d(codes, n, n, path, machine, channels_last=last, dtype=dtype) for path in (BODY, TAIL)
            )
            windows = np.lib.stride_tricks.sliding_window_view(x.int_repr().astype(int), kernel, (2, 3))
            sums = (windows[:, :, :: kernel[0], :: kernel[1]] - body.offset).sum(axis=(-1, -2))
            vectors = EIGHTS[machine.capability] if last and machine.engine != "qnnpack" else 0
            same(wanted, sums, body, tail, vectors)
            for found in (body, tail):
                every = np.arange(found.form.low, found.form.high + 1)
                assert np.array_equal(found.codes(every), found.formula(every)) and found.check() > 0
                assert not isinstance(found.form, Thresholds)


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize("last", [False, True])
def test_adaptive_average_pools(machine: Machine, last: bool, rng: np.random.Generator) -> None:
    x, codes = images(rng, (5, 37, 7, 7), "quint8", last=last)
    wanted = qlearn.adaptive_avg_pool2d(x, 1, machine=machine).int_repr()
    if machine.engine == "qnnpack":
        body = tail = avg_pool2d(codes, 49, 49, BODY, machine, channels_last=last)
    else:
        body, tail = (adaptive_avg_pool2d(codes, (7, 7), path, machine, channels_last=last) for path in (BODY, TAIL))
    sums = (x.int_repr().astype(int) - body.offset).sum(axis=(2, 3), keepdims=True)
    same(wanted, sums, body, tail, 8 if last and machine.capability != "DEFAULT" and machine.engine != "qnnpack" else 0)
    every = np.arange(body.form.low, body.form.high + 1)
    assert np.array_equal(body.codes(every), body.formula(every))


def test_negative_divisors_fall(rng: np.random.Generator) -> None:
    x, codes = images(rng, (1, 8, 6, 6), "quint8", last=False)
    machine = Machine("fbgemm", "AVX2", 1)
    wanted = qlearn.avg_pool2d(x, 2, divisor_override=-3, machine=machine).int_repr()
    found = avg_pool2d(codes, -3, 4, TAIL, machine, channels_last=False)
    sums = (x.int_repr().astype(int) - found.offset).reshape(1, 8, 3, 2, 3, 2).sum(axis=(3, 5))
    assert np.array_equal(found.codes(sums), wanted) and found.check()


def test_means_over_the_last_axes(rng: np.random.Generator) -> None:
    for n in (2, 7, 49, 64, 195):
        q = rng.integers(0, 256, (4000, n), dtype=np.uint8)
        machine = Machine("fbgemm", "AVX2", 1)
        wanted = qlearn.mean(QTensor(q, 0.1, 77, "quint8"), 1, machine=machine).int_repr()
        found = mean(Codes(0.1, 77), n, machine, inner=True)
        assert np.array_equal(found.codes(q.sum(axis=1, dtype=int)), wanted)


@pytest.mark.parametrize("n", [(7, 7), (3, 5), (9, 13)])
def test_means_in_float32_are_the_rounded_ones(n: tuple[int, int], rng: np.random.Generator) -> None:
    """Odd counts, channels_last, sums next to ties, on several threads."""
    for z in (0, 128, 255):
        machine = Machine("x86", "AVX2", int(rng.integers(1, 3)), release=str(rng.choice(["2.14", "2.13"])))
        scale = float(rng.uniform(0.001, 0.1))
        found = mean(Codes(scale, z), n[0] * n[1], machine, inner=False)
        q = np.moveaxis(rng.integers(0, 256, (20, *n, 64), dtype=np.uint8), -1, 1)
        q = np.moveaxis(np.ascontiguousarray(np.moveaxis(q, 1, -1)), -1, 1)
        wanted = qlearn.mean(QTensor(q, scale, z, "quint8"), (2, 3), machine=machine).int_repr()
        sums = (q.astype(int) - z).sum(axis=(2, 3))
        assert np.array_equal(found.codes(sums), wanted)
        assert found.check()


def test_means_with_ties_are_refused_by_name() -> None:
    """An even count: two orders of one sum give two codes."""
    machine = Machine("x86", "AVX2", 1)
    with pytest.raises(NotImplementedError, match="a mean of 64 codes added in float32 has ties"):
        mean(Codes(0.1, 3), 64, machine, inner=False)
    with pytest.raises(NotImplementedError, match="a mean of 3025 codes added in float32 may be off by"):
        mean(Codes(0.1, 3), 3025, machine, inner=False)
    with pytest.raises(NotImplementedError, match="scale must lie between 1e-30"):
        mean(Codes(1e-35, 3), 49, machine, inner=False)
    rng, codes = np.random.default_rng(0), set()
    rows = np.array([0, 0, 0, 0, 0, 0, 97, 251], np.uint8)  # 43.5
    for scale in np.linspace(0.01, 0.1, 60):
        q = np.moveaxis(rng.permuted(np.tile(rows, (50, 1)), axis=1).reshape(50, 4, 2, 1).repeat(9, -1), -1, 1)
        q = np.moveaxis(np.ascontiguousarray(np.moveaxis(q, 1, -1)), -1, 1)
        codes |= set(qlearn.mean(QTensor(q, scale, 60, "quint8"), (2, 3), machine=machine).int_repr().ravel().tolist())
    assert codes == {43, 44}


def test_a_wrong_bit_is_refused() -> None:
    machine = Machine("fbgemm", "AVX2", 1)
    found = avg_pool2d(Codes(0.1, 3), 9, 9, BODY, machine, channels_last=True)
    for name in ("M", "S"):
        form = replace(found.form, **{name: getattr(found.form, name) ^ 1})
        with pytest.raises(Unproven):
            replace(found, form=form).check()
    with pytest.raises(NotImplementedError, match="more than 4194304 pixels"):
        avg_pool2d(Codes(0.1, 3), 2**23, 2**23, BODY, machine, channels_last=True)
