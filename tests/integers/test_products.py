"""products.py: mul and PReLU in integers are qlearn's for every pair of codes, in the body and in the tail."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import qlearn
from qlearn import Machine, QTensor
from qlearn.integers import Line, Unproven, multiplication, prelu
from qlearn.integers.pairs import all_pairs
from qlearn.machine.machine import BODY, CAPABILITIES, TAIL


def drawn(rng: np.random.Generator, dtype: str) -> tuple[list[float], list[int]]:
    """Scales of a, b and their product, some of them powers of two; zero points."""
    scales = np.exp(rng.uniform(np.log(0.01), np.log(0.1), 3))
    scales[2] = scales[0] * scales[1] * 127 * np.exp(rng.uniform(-1, 1))
    if rng.random() < 0.5:
        scales = 2.0 ** np.rint(np.log2(scales))
    return scales.tolist(), (rng.integers(-128, 128, 3) + 128 * (dtype == "quint8")).tolist()


@pytest.mark.parametrize("release", ["2.14", "2.13", "2.12", "1.13"])
@pytest.mark.parametrize("dtype", ["quint8", "qint8"])
def test_every_pair(dtype: str, release: str, rng: np.random.Generator) -> None:
    for relu in (False, True):
        machine = Machine("x86", str(rng.choice(CAPABILITIES)), 1, release=release)
        (s1, s2, s), (za, zb, z) = drawn(rng, dtype)
        found = multiplication((s1, za), (s2, zb), s, z, machine, dtype=dtype, relu=relu)
        assert found.check() >= 4
        mul: Any = qlearn.mul_relu if relu else qlearn.mul
        a, b = all_pairs(dtype)
        for start, stop in ((0, 65536), (20_000, 20_063), (0, 1003)):
            x, y = QTensor(a[start:stop], s1, za, dtype), QTensor(b[start:stop], s2, zb, dtype)
            wanted = mul(x, y, s, z, machine=machine).int_repr()
            paths = machine.path_map(x.shape)
            for path in (BODY, TAIL):
                there = paths == path
                mine = found.codes(path, x.int_repr()[there], y.int_repr()[there])
                assert np.array_equal(mine, wanted[there]), (machine, found)


@pytest.mark.parametrize("dtype", ["quint8", "qint8"])
def test_prelu(dtype: str, rng: np.random.Generator) -> None:
    """Every code in 20 channels, with weights in which 1 has a code and in which it has none."""
    for w_scale in (0.01, 0.0001):
        (s1, _, _), (zx, zw, z) = drawn(rng, dtype)
        info = np.iinfo(np.uint8 if dtype == "quint8" else np.int8)
        weight = QTensor(rng.integers(info.min, info.max + 1, 20), w_scale, zw, dtype)
        q = np.arange(info.min, info.max + 1)[:, None].repeat(20, axis=1)
        x, machine = QTensor(q, s1, zx, dtype), Machine("fbgemm", "AVX2", 1)
        wanted = qlearn.prelu(x, weight, s1, z, machine=machine).int_repr()
        found = prelu((s1, zx), weight, s1, z, machine, dtype=dtype)
        assert found.check() >= 4
        for path in (BODY, TAIL):
            assert np.array_equal(found.codes(path, q, weight.int_repr()), wanted)


def test_a_wrong_bit_is_refused() -> None:
    found = multiplication((0.05, 3), (0.031, 100), 0.1, 7, Machine("fbgemm", "AVX2", 1))
    form = found.body
    assert isinstance(form, Line) and found.tail is form and found.check() == 2 * 512
    for name, bits in (("M", 20), ("S", 5), ("low", 1)):
        for bit in range(bits):
            mutant = replace(form, **{name: getattr(form, name) ^ 1 << bit})
            if np.array_equal(mutant.codes(c := np.arange(mutant.low, form.high + 1)), form.codes(c)):
                continue
            for path in ("body", "tail"):
                with pytest.raises(Unproven):
                    replace(found, **{path: mutant}).check()


def test_what_leaves_int32_is_refused() -> None:
    machine = Machine("fbgemm", "AVX2", 1)
    with pytest.raises(NotImplementedError, match="a product must not leave int32, in steps of scale"):
        multiplication((10.0, 0), (10.0, 0), 1e-3, 0, machine)
    with pytest.raises(NotImplementedError, match="got qint32"):
        multiplication((1.0, 0), (1.0, 0), 1.0, 0, machine, dtype="qint32")
