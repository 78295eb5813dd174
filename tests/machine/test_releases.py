"""The history of releases: how a version is read, and that each change is told by what PyTorch answered."""

from typing import Any

import numpy as np
import pytest

import qlearn
from qlearn import Machine, QTensor
from qlearn.machine import releases
from qlearn.machine.releases import BOOK, HISTORY, RELEASES, release_of

EVERY = np.arange(256, dtype=np.uint8)


def test_versions() -> None:
    """Any patch level and build; a newer one is taken for the newest, with a warning."""
    assert [release_of(v) for v in ("2.14.1+cu130", "2.14", "1.13.1", "2.4.0a0+git1")] == [
        "2.14",
        "2.14",
        "1.13",
        "2.4",
    ]
    with pytest.warns(UserWarning, match=r"release '2\.16\.0' is taken for 2\.15: newer ones are unproven"):
        assert Machine("x86", "AVX2", 1, release="2.16.0").release == "2.15"
    for old in ("1.12.1", "0.4", "two", ""):
        with pytest.raises(ValueError, match=r"release must be one of PyTorch's, 1\.13 to 2\.15, got"):
            release_of(old)
    with pytest.raises(TypeError, match=r"release must be a string, 1\.13 to 2\.15, got 2\.14"):
        release_of(2.14)
    assert Machine.default().release == BOOK


def test_the_history_is_in_order() -> None:
    ends = [RELEASES.index(change.last) for change in HISTORY if change.last != RELEASES[-1]]
    assert ends == sorted(ends) and len(set(HISTORY)) == len(HISTORY)
    for change in HISTORY:
        assert [change.holds(r) for r in (change.first, change.last)] == [True, True]
        assert change.what and change.affects and change.source


def first_code(operator: Any, *args: Any, scale: float, zero_point: int, code: int, release: str) -> int:
    """Of every code in a row, what one becomes in the vector body."""
    x = QTensor(EVERY, scale, zero_point, "quint8")
    return int(operator(x, *args, machine=Machine("fbgemm", "AVX2", 1, release=release)).int_repr()[code])


@pytest.mark.parametrize(("release", "code"), [("1.13", 85), ("2.0", 85), ("2.1", 85), ("2.2", 86), ("2.14", 86)])
def test_sigmoid(release: str, code: int) -> None:
    """As 1.13.1, 2.0.1, 2.1.2, 2.2.2 and 2.14.1 answered."""
    where = {"scale": 0.05000000074505806, "zero_point": 247, "code": 231}
    assert first_code(qlearn.sigmoid, 0.00466203736141324, 19, **where, release=release) == code


@pytest.mark.parametrize(("release", "code"), [("1.13", 124), ("2.10", 124), ("2.11", 125), ("2.15", 125)])
def test_elu(release: str, code: int) -> None:
    """As 1.13.1, 2.10.0, 2.11.0 and 2.15.0 answered."""
    where = {"scale": 0.0006967606605030596, "zero_point": 167, "code": 155}
    assert first_code(qlearn.elu, 6.967606896068901e-05, 244, **where, release=release) == code


def test_a_relu_of_one_code() -> None:
    """XNNPACK refused it in 2.2.2 and gave code 127 everywhere in 2.3.1."""
    x = QTensor(EVERY.view(np.int8), 0.1, 0, "qint8")
    with pytest.raises(ValueError, match="zero_point must be below 127"):
        qlearn.add_relu(x, x, 0.2, 127, machine=Machine("qnnpack", "AVX2", 1, release="2.2"))
    later = qlearn.add_relu(x, x, 0.2, 127, machine=Machine("qnnpack", "AVX2", 1, release="2.3"))
    assert (later.int_repr() == 127).all()


@pytest.mark.parametrize("name", ["mul", "add"])
def test_what_pytorch_misreads_is_refused(name: str) -> None:
    """From 2.6 to 2.12, qint8 that is not contiguous."""
    x = QTensor(EVERY.view(np.int8).reshape(16, 16).T, 0.1, 0, "qint8")
    for release in ("2.6", "2.12"):
        with pytest.raises(NotImplementedError, match="a must lie contiguous in memory"):
            getattr(qlearn, name)(x, x, 0.2, 3, machine=Machine("qnnpack", "AVX2", 1, release=release))
    for release in ("2.5", "2.14"):
        getattr(qlearn, name)(x, x, 0.2, 3, machine=Machine("qnnpack", "AVX2", 1, release=release))


def test_a_sum_whose_scale_is_far_too_small() -> None:
    """No shift is left for XNNPACK's multipliers."""
    x = QTensor(EVERY.view(np.int8), 1e3, 0, "qint8")
    with pytest.raises(NotImplementedError, match="scale must not be so small that an input's is"):
        qlearn.add(x, x, 1e-6, 0, machine=Machine("qnnpack", "AVX2", 1, release="2.12"))


def test_kernels_for_avx512_of_old() -> None:
    """Blocks of 128; what takes channels in vectors is refused."""
    old = Machine("fbgemm", "AVX512", 1, release="2.0")
    assert old.paths(130) == [(0, 128, "body"), (128, 130, "tail")]
    assert Machine("fbgemm", "AVX512", 1, release="2.1").paths(66) == [(0, 64, "body"), (64, 66, "tail")]
    with pytest.raises(NotImplementedError, match=r"operator of release 2\.0"):
        old.check_bodies()
    assert releases.AVX512_BODIES in HISTORY


def test_sums_whose_shift_32_bits_do_not_hold() -> None:
    """Scales thousands of times the inputs': what 2.7.1 gave for them, the sign of the sum; 2.5 refused them."""
    a = QTensor(np.array([-128, -50, 0, 48, 49, 50, 60, 127], np.int8), 0.00010680677792824303, 49, "qint8")
    b = QTensor(np.array([92, 91, 93, 92, 92, 92, -128, 127], np.int8), 0.0004368023096843386, 92, "qint8")
    for scale, codes in (
        (7.175514631910911, [-29, -29, -29, -29, -28, -28, -29, -28]),
        (0.9, [-28, -28, -28, -28, -29, -29, -28, -29]),
        (0.5, [-28] * 8),
    ):
        sums = qlearn.add(a, b, scale, -28, machine=Machine("qnnpack", "AVX2", 1, release="2.7"))
        assert sums.int_repr().tolist() == codes
    with pytest.raises(ValueError, match=r"must be in \[2\*\*-10, 2\*\*8\)"):
        qlearn.add(a, b, 0.9, -28, machine=Machine("qnnpack", "AVX2", 1, release="2.5"))
