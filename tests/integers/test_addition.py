"""addition.py, pairs.py, plane.py: sums in integers are qlearn's for all 65,536 pairs, in the body and in the tail."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import qlearn
from qlearn import Machine, QTensor
from qlearn.integers import Affine, OfSum, Table, TwoTables, Unproven, addition
from qlearn.integers.addition import kernel_of
from qlearn.integers.pairs import all_pairs, pair_of, prove_pair
from qlearn.integers.plane import plane
from qlearn.machine.machine import BODY, CAPABILITIES, TAIL

KINDS = ("any", "s1 == s2", "s == s1 + s2", "s == 2 s1", "s == 2 s1 == 2 s2", "powers of two")


def drawn(kind: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """Scales of a, b and their sum."""
    s1, s2 = (float(np.float32(s)) for s in np.exp(rng.uniform(np.log(0.01), np.log(0.1), 2)))
    s2 = s1 if kind in ("s1 == s2", "s == 2 s1 == 2 s2") else s2
    s = float(np.float32((s1 + s2) * np.exp(rng.uniform(-0.8, 0.3))))
    if kind == "s == s1 + s2":
        s = float(np.float32(s1) + np.float32(s2))
    if kind.startswith("s == 2"):
        s = 2 * s1
    if kind == "powers of two":
        s1, s2, s = (2.0 ** int(e) for e in rng.integers(-7, -2, 3))
    return s1, s2, s


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
def test_every_pair(engine: str, kind: str, rng: np.random.Generator) -> None:
    """In a body, and in a tail of some 60 elements; qint8 as well, with and without ReLU, in 2.13 and before it."""
    capability, release = str(rng.choice(CAPABILITIES)), str(rng.choice(["2.14", "2.13", "2.12"]))
    machine, dtype = Machine(engine, capability, 1, release=release), str(rng.choice(["quint8", "qint8"]))
    (s1, s2, s), (za, zb, z) = drawn(kind, rng), (int(v) for v in rng.integers(-128, 127, 3) + 128 * (dtype[1] == "u"))
    relu = bool(rng.random() < 0.3)
    found = addition((s1, za), (s2, zb), s, z, machine, dtype=dtype, relu=relu)
    assert found.check() == 2 * 65536
    add: Any = qlearn.add_relu if relu else qlearn.add
    a, b = all_pairs(dtype)
    for start, stop in ((0, 65536), (20_000, 20_063), (0, 1003)):
        x, y = QTensor(a[start:stop], s1, za, dtype), QTensor(b[start:stop], s2, zb, dtype)
        wanted = add(x, y, s, z, machine=machine).int_repr()
        paths = machine.path_map(x.shape)
        for path in (BODY, TAIL):
            there = paths == path
            mine = found.on(path).codes(x.int_repr()[there], y.int_repr()[there])
            if engine == "fbgemm" or dtype == "qint8" or found.tail is found.body:
                assert np.array_equal(mine, wanted[there]), (path, machine, found)


def test_forms(rng: np.random.Generator) -> None:
    """Which scales need which form; the tables are rebuilt with fewer bits than 65,536 codes."""
    machine = Machine("fbgemm", "AVX2", 1)
    affine = addition((0.0517931, 3), (0.0312345, 100), 0.1000313, 7, machine).body
    assert isinstance(affine, Affine) and affine.bits < 100
    half = addition((0.25, 3), (0.125, 100), 0.5, 7, machine).body
    assert isinstance(half, OfSum) and half.bits < affine.bits * 20
    twice = addition((0.037, 3), (0.0211, 100), 2 * 0.037, 7, machine).tail
    assert isinstance(twice, TwoTables) and twice.bits < Table(np.zeros((256, 256), np.int64), 0).bits
    both = addition((0.037, 90), (0.037, 30), 0.074, 100, machine).body
    assert isinstance(both, Table)


def test_body_and_tail_differ() -> None:
    """The question's kind of scales: one pair, two sums."""
    found = addition((0.037, 90), (0.037, 30), 0.074, 100, Machine("fbgemm", "AVX2", 1))
    a, b = all_pairs("quint8")
    assert not np.array_equal(found.body.codes(a, b), found.tail.codes(a, b))


def test_broadcast_sums_of_qnnpack_are_fbgemms() -> None:
    parameters, (a, b) = ((0.037, 90), (0.037, 30), (0.074, 100), "quint8"), all_pairs("quint8")
    machines = Machine("qnnpack", "AVX2", 1), Machine("fbgemm", "AVX2", 1)
    alike, other, fbgemm = (
        kernel_of(*parameters, machines[i], relu=False, alike=alike)(BODY, a, b)
        for i, alike in ((0, True), (0, False), (1, True))
    )
    assert not np.array_equal(alike, other) and np.array_equal(other, fbgemm)


def test_a_plane_is_found_again(rng: np.random.Generator) -> None:
    """What a plane has drawn has a plane, with an S that is not larger."""
    a = np.arange(256)
    for _ in range(12):
        S = int(rng.integers(0, 16))
        M1, M2 = (int(v) for v in rng.integers(0, 2**S + 1, 2))
        C = int(rng.integers(-(2**S) * 300, 2**S * 200))
        table = np.clip((a[:, None] * M1 + a * M2 + C) >> S, 20, 255)
        found = plane(table, 20, 255)
        assert found is not None and found.S <= S
        assert np.array_equal(np.clip((a[:, None] * found.M1 + a * found.M2 + found.C) >> found.S, 20, 255), table)
    bent = np.clip(np.maximum(a[:, None], a) // 2 + a, 0, 255)
    assert plane(bent, 0, 255) is None


def test_a_wrong_bit_is_refused() -> None:
    """Where a code changes for some pair, and there alone."""
    machine = Machine("fbgemm", "AVX2", 1)
    found = addition((0.0517931, 3), (0.0312345, 100), 0.1000313, 7, machine)
    a, b = all_pairs("quint8")
    right, form = found.body.codes(a, b), found.body
    assert isinstance(form, Affine)
    refused = []
    for name, bits in (("M1", 20), ("M2", 20), ("C", 24), ("S", 5)):
        for bit in range(bits):
            mutant = replace(found, body=replace(form, **{name: getattr(form, name) ^ 1 << bit}))
            if np.array_equal(mutant.body.codes(a, b), right):
                assert mutant.check()
                continue
            with pytest.raises(Unproven, match="where float32 gives"):
                mutant.check()
            refused.append(name)
    assert {*refused} == {"M1", "M2", "C", "S"} and refused.count("S") == 5
    table = pair_of(lambda x, y: np.where(x > 3, x ^ y, x & y), "quint8", (0, 255))
    assert isinstance(table, Table)
    wrong = table.table.copy()
    wrong[200, 77] ^= 1
    with pytest.raises(Unproven, match="codes 200 and 77 give"):
        prove_pair(replace(table, table=wrong), lambda x, y: np.where(x > 3, x ^ y, x & y), "quint8")


def test_bad_arguments_are_refused() -> None:
    machine = Machine("qnnpack", "AVX2", 1)
    with pytest.raises(NotImplementedError, match="quint8 or qint8 for integers, got qint32"):
        addition((0.1, 0), (0.1, 0), 0.1, 0, machine, dtype="qint32")
    with pytest.raises(ValueError, match="must be below 255 for add_relu"):
        addition((0.1, 0), (0.1, 0), 0.1, 255, machine, relu=True)
    with pytest.raises(ValueError, match="f must give codes from 3 to 255, got 0 and 255"):
        pair_of(lambda x, y: x, "quint8", (3, 255))
