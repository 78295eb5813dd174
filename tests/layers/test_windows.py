"""windows.py and window_sums.py: every geometry's sums are exact, whichever way they are computed."""

import platform
import subprocess
import sys
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qlearn
from qlearn import QTensor
from qlearn.layers import window_sums, windows
from strategies import arranged


def expected_sums(x: Any, w: Any, x_zero_point: int, w_zero_points: Any, g: windows.Geometry) -> Any:
    """One tap of one group after the other, in int64; shape (N, *out, M)."""
    centered = x.astype(np.int64) - x_zero_point
    padded = np.pad(centered, ((0, 0), (0, 0), *((p, p) for p in g.padding)))
    weights = w.astype(np.int64) - np.reshape(w_zero_points, (-1, *[1] * (w.ndim - 1)))
    sums = []
    for xg, wg in zip(np.split(padded, g.groups, axis=1), np.split(weights, g.groups), strict=True):
        total = np.zeros((len(x), *g.out, len(wg)), np.int64)
        for tap in product(*map(range, g.kernel)):
            each = zip(tap, g.dilation, g.stride, g.out, strict=True)
            where = tuple(slice(t * d, t * d + (o - 1) * s + 1, s) for t, d, s, o in each)
            total += np.moveaxis(xg[(..., *where)], 1, -1) @ wg[(..., *tap)].T
        sums.append(total)
    return np.concatenate(sums, axis=-1)


def check(x: Any, w: Any, zero_points: tuple[int, Any], *geometry: Any, layout: str = "contiguous") -> windows.Geometry:
    """Compare with ``expected_sums``."""
    g = windows.geometry(x.ndim - 2, x.shape, w.shape, *geometry)
    per_channel = np.ndim(zero_points[1]) > 0
    scales = np.ones(len(w)) if per_channel else 1.0
    qx = QTensor(arranged(x.astype(np.uint8), layout), 1.0, zero_points[0], "quint8")
    qw = QTensor(w.astype(np.int8), scales, zero_points[1], "qint8", 0 if per_channel else None)
    acc = window_sums.accumulate(qx, qw, g)
    assert acc.dtype in (np.float32, np.int32)
    assert np.array_equal(acc, expected_sums(x, w, *zero_points, g))
    return g


@settings(max_examples=120, deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(0, 2**32), st.booleans())
def test_exact(data: st.DataObject, n: int, seed: int, full: bool) -> None:
    """Any geometry in one to three dimensions, operands over their whole range, or at its ends."""
    rng = np.random.default_rng(seed)
    groups, into, out_of, batch = (data.draw(st.integers(1, most)) for most in (4, 5, 3, 3))
    kernel, stride, dilation = (data.draw(st.tuples(*[st.integers(1, 3)] * n)) for _ in range(3))
    padding = data.draw(st.tuples(*[st.integers(0, 3)] * n))
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    lengths = [data.draw(st.integers(low, low + 6)) for low in least]
    x_shape, w_shape = (batch, groups * into, *lengths), (groups * out_of, into, *kernel)
    x, w = rng.integers(0, 256, x_shape), rng.integers(-128, 128, w_shape)
    if full:
        x, w = rng.choice([0, 255], x_shape), rng.choice([-128, 127], w_shape)
    zero_points = int(rng.integers(0, 256)), rng.integers(-128, 128, len(w)) if full else 0
    layout = data.draw(st.sampled_from(["contiguous", "channels_last"]))
    check(x, w, zero_points, stride, padding, dilation, groups, layout=layout)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), list(product((1, 2), (1, 2), (0, 1, 3), (1, 2))))
def test_each_way(kernel: int, stride: int, padding: int, dilation: int, layout: str, rng: np.random.Generator) -> None:
    """Each geometry for which the columns are made, or the taps added, in a way of its own."""
    for groups, into, n in product((1, 2, 5), (1, 2, 9), (1, 2, 3)):
        x = rng.integers(0, 256, (2, groups * into, *(5, 4, 6)[:n]))
        w = rng.integers(-128, 128, (groups * 2, into, *[kernel] * n))
        check(x, w, (int(rng.integers(256)), 3), stride, padding, dilation, groups, layout=layout)


@pytest.mark.parametrize(
    ("channels", "outputs", "kernel", "size", "geometry"),
    [
        (555, 6, 3, 6, (1, 1, 1, 1)),  # K is 4,995
        (40, 6, 3, 5, (2, 1, 1, 2)),
        (6, 6, 17, 20, (1, 8, 1, 6)),  # 289 taps of one channel: too many for float32
        (6, 12, 16, 20, (1, 8, 1, 6)),  # 256 are not
        (3, 64, 7, 70, (2, 3, 1, 1)),  # the first layer of ResNet
        (64, 64, 1, 70, (1, 0, 1, 1)),
    ],
)
def test_the_largest_sums(channels: int, outputs: int, kernel: int, size: int, geometry: Any) -> None:
    """Every product as large as can be, of one sign and of both."""
    rng = np.random.default_rng(channels)
    shape = outputs, channels // geometry[-1], kernel, kernel
    for w in (np.full(shape, -128), rng.choice([-128, 127], shape)):
        check(np.full((1, channels, size, size), 255), w, (0, 127), *geometry)
        check(rng.choice([0, 255], (1, channels, size, size)), w, (255, -128), *geometry)


def test_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the pieces, whole images or rows of one."""
    rng = np.random.default_rng(3)
    for size in (1, 100, 1000, 2000, 10**6):
        monkeypatch.setattr(window_sums, "PIECE", size)
        for groups, into in ((1, 3), (3, 2), (4, 1)):
            x, w = rng.integers(0, 256, (3, groups * into, 5, 4)), rng.integers(-128, 128, (groups * 2, into, 3, 2))
            check(x, w, (9, 3), (2, 1), (1, 2), 1, groups)
    monkeypatch.setattr(window_sums, "PIECE", 100)
    assert list(window_sums.pieces(3, 4, 10)) == [(slice(i, i + 2), slice(0, 4)) for i in (0, 2)]
    assert list(window_sums.pieces(1, 4, 40)) == [(slice(0, 1), slice(0, 2)), (slice(0, 1), slice(2, 4))]


def test_a_weight_is_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice with one zero point, once more with another."""
    calls = []
    right = window_sums.factor
    monkeypatch.setattr(window_sums, "factor", lambda w, largest: calls.append(largest) or right(w, largest))
    w = QTensor(np.arange(18).reshape(2, 1, 3, 3), 1.0, 0, "qint8")
    for zero_point, groups in ((3, 1), (3, 1), (252, 1), (128, 1), (3, 2)):
        x = QTensor(np.full((1, groups, 4, 4), 7), 1.0, zero_point, "quint8")
        out = qlearn.conv2d(x, w, None, 1, 1, 1, groups, 1.0, 0)
        assert out.shape == (1, 2, 4, 4)
    assert calls == [252, 128, 252]


def test_freed_memory_is_kept() -> None:
    """A layer that runs again takes no new pages from the system, which would take longer than the layer."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the C library is not glibc")
    code = """
import numpy, qlearn, resource
x = qlearn.QTensor(numpy.ones((1, 64, 56, 56), numpy.uint8), 1.0, 0, "quint8")
w = qlearn.QTensor(numpy.ones((64, 64, 3, 3), numpy.int8), 1.0, 0, "qint8")
pages = []
for _ in range(9):
    qlearn.conv2d(x, w, None, 1, 1, 1, 1, 1.0, 0)
    pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(pages[-1] - pages[-5])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 400  # of some 1,400 in each of the four last calls
