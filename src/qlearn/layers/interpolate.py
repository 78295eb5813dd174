"""Images made larger or smaller: the nearest pixel, or four that are weighed (Chapter 10).

Which pixels, and with which weights, float32 numbers say; the codes they stand for are never dequantized, since scale
and zero point stay.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import DTYPES, QTensor
from qlearn.codes.quantize import Quantize, in_scalars
from qlearn.codes.rounding import fma, saturate
from qlearn.elementwise.sums_and_products import check_per_tensor
from qlearn.layers.pooling import EIGHT, as_written, vectors_first
from qlearn.layers.windows import lengths
from qlearn.machine.layout import dense_strides, is_channels_last, laid_out, like_channels_last
from qlearn.machine.machine import Machine
from qlearn.machine.releases import EMPTY_IMAGES

__all__ = ["interpolate"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Neighbors = tuple[Ints, Ints, Floats, Floats]  # two pixels, their weights


def interpolate(
    x: QTensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    *,
    machine: Machine | None = None,
) -> QTensor:
    """torch.nn.functional.interpolate of a quantized image, with its scale and zero point (Chapter 10).

    Along each axis, all in float32, with r = length / size, or 1 / scale_factor (divided in float64):

    - "nearest": output i is the pixel floor(i * r); "nearest-exact": floor((i + 0.5) * r). At most the last pixel.
    - "bilinear": the place p = max(r * (i + 0.5) - 0.5, 0), or i * (length - 1) / (size - 1) if align_corners, lies
      between pixel k = floor(p) and the next (the last stays), with weights v = 1 - w and w = p - k. Two rows are
      weighed along W, v * left + w * right, then along H, v * top + w * bottom; then rint(that - zero_point) +
      zero_point, each step rounded (in PyTorch 2.13 the zero point goes in before rint). An x of the wanted size, not
      channels_last, is copied.
    - "bilinear" of a channels_last x on AVX2 and AVX512, where the compiler has fused products and sums: p = max(fma(r,
      i + 0.5, -0.5), 0), and of each two weighed numbers one product is rounded: fma(v, left, w * right), or in the
      vectors, eight channels each (not of qint32), fma(w, right, v * left).

    The same integers on every engine and number of threads. Source: ``UpSampleNearest2d.cpp``,
    ``UpSampleBilinear2d.cpp``, ``UpSample.h``, ``QuantizedOpKernels.cpp`` qupsample_bilinear2d_nhwc_kernel.

    Args:
        x: a per-tensor QTensor of any dtype, (N, C, H, W).
        size: of the result, one integer or one for height and one for width, at least 1; or None.
        scale_factor: the size is floor(length * scale_factor); a positive number or two. One of the two must be given.
        mode: "nearest", "nearest-exact" or "bilinear".
        align_corners: for "bilinear" alone, whether the corner pixels keep their places; None is False.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        A QTensor of shape (N, C, H_out, W_out), laid out as ``max_pool2d``'s.

    Raises:
        TypeError: x is not a QTensor, a size is not an integer, a scale factor not a number, machine not a Machine.
        NotImplementedError: another mode (PyTorch interpolates no other on quantized tensors of four dimensions), or
            x of three or five dimensions.
        ValueError: x is per channel, or empty but for its batch; both or none of size and scale_factor; a number out of
            its range; align_corners with another mode.
    """
    machine = Machine.of(machine)
    check_per_tensor("x", x)
    if mode not in ("nearest", "nearest-exact", "bilinear"):
        raise NotImplementedError(f"mode must be nearest, nearest-exact or bilinear, got {mode!r}")
    if x.ndim != 4:
        raise NotImplementedError(f"x must have 4 dimensions, N, C, H and W, got shape {x.shape}")
    if 0 in x.shape[1:]:
        raise ValueError(f"x must not be empty, but for its batch, got shape {x.shape}")
    if align_corners is not None and mode != "bilinear":
        raise ValueError(f"align_corners must be None with mode {mode!r}, got {align_corners!r}")
    wanted, factors = _wanted(x, size, scale_factor, (0, 1) if machine.has(EMPTY_IMAGES) else (1, 1))
    q = x.int_repr()
    axes = list(zip(x.shape[-2:], wanted, factors, strict=True))
    same, last = wanted == x.shape[-2:], is_channels_last(q)
    if same and mode != "bilinear":
        strides = dense_strides(x.shape, channels_last=last and like_channels_last(q))
        return QTensor(laid_out(q, strides), x.q_scale(), x.q_zero_point(), x.dtype)
    if same and not last:
        codes = q
    elif mode == "bilinear":
        machine.check_bodies()
        fused = last and machine.capability != "DEFAULT"
        find = place_aligned if align_corners else place_fused if fused else place
        weighed = partial(_bilinear, x, in_scalars(machine), [_neighbors(find(*axis), axis[0]) for axis in axes])
        body, tail = (
            partial(weighed, by) for by in ((weigh_fused_last, weigh_fused_first) if fused else (weigh, weigh))
        )
        codes = vectors_first(q.astype(np.float32), EIGHT if fused and x.dtype != "qint32" else 0, body, tail)
    else:
        nearby = nearest if mode == "nearest" else nearest_exact
        codes = q
        for axis, along in zip((-2, -1), axes, strict=True):
            codes = np.take(codes, np.minimum(nearby(along[1], ratio(*along)), along[0] - 1), axis)
    return as_written(x, codes)


def ratio(length: int, size: int, factor: float | None) -> np.float32:
    """Pixels of x for one of the result."""
    return np.float32(length) / np.float32(size) if factor is None else np.float32(1.0 / factor)


def nearest(size: int, r: np.float32) -> Ints:
    """floor(i * r), the product rounded to float32."""
    return np.asarray(np.floor(_indices(size) * r), np.int64)


def nearest_exact(size: int, r: np.float32) -> Ints:
    """floor((i + 0.5) * r), the product rounded to float32."""
    return np.asarray(np.floor((_indices(size) + np.float32(0.5)) * r), np.int64)


def place(length: int, size: int, factor: float | None) -> Floats:
    """Where each of size pixels lies among length pixels, float32 (size,): r * (i + 0.5) - 0.5, not below 0."""
    half = np.float32(0.5)
    return np.asarray(np.maximum(ratio(length, size, factor) * (_indices(size) + half) - half, np.float32(0)))


def place_fused(length: int, size: int, factor: float | None) -> Floats:
    """``place`` with one rounding less."""
    half = np.float32(0.5)
    return np.asarray(np.maximum(fma(ratio(length, size, factor), _indices(size) + half, -half), np.float32(0)))


def place_aligned(length: int, size: int, factor: float | None) -> Floats:
    """i * (length - 1) / (size - 1): the last of size pixels lies on the last of length pixels."""
    step = np.float32(length - 1) / np.float32(size - 1) if size > 1 else np.float32(0)
    return np.asarray(step * _indices(size))


def weigh(v: Floats, a: Floats, w: Floats, b: Floats) -> Floats:
    """v * a + w * b, rounded after each step."""
    return np.asarray(v * a + w * b)


def weigh_fused_first(v: Floats, a: Floats, w: Floats, b: Floats) -> Floats:
    """fma(v, a, w * b)"""
    return fma(v, a, w * b)


def weigh_fused_last(v: Floats, a: Floats, w: Floats, b: Floats) -> Floats:
    """fma(w, b, v * a)"""
    return fma(w, b, v * a)


def _indices(size: int) -> Floats:
    return np.arange(size, dtype=np.float32)


def _bilinear(
    x: QTensor, quantize: Quantize, where: list[Neighbors], by: Callable[..., Floats], q: Floats
) -> npt.NDArray[Any]:
    """The codes of four weighed pixels of q each, which are given for H and for W; (N, C, H, W) -> (N, C, *size)."""
    (top, bottom, *down), (left, right, *across) = where
    z = np.float32(x.q_zero_point())

    def row(h: Ints) -> Floats:
        pixels = q[..., h, :]  # (N, C, H_out, W)
        return by(across[0], pixels[..., left], across[1], pixels[..., right])

    both = by(down[0][:, None], row(top), down[1][:, None], row(bottom))
    return saturate(quantize(both - z, np.float32(1), z), DTYPES[x.dtype])


def _neighbors(place: Floats, length: int) -> Neighbors:
    """For each place the pixel before it and the one after, and their weights."""
    before = place.astype(np.int64)
    weight = place - before.astype(np.float32)
    return before, np.minimum(before + 1, length - 1), np.float32(1) - weight, weight


def _wanted(
    x: QTensor, size: Any, scale_factor: Any, least: tuple[int, int]
) -> tuple[tuple[int, ...], list[float | None]]:
    """The result's height and width, and the scale factors if they were given."""
    if (size is None) == (scale_factor is None):
        raise ValueError(f"size or scale_factor must be given, and not both, got {size!r} and {scale_factor!r}")
    if size is not None:
        return lengths("size", size, 2, 1), [None, None]
    given = list(scale_factor) if isinstance(scale_factor, Sequence) else [scale_factor] * 2
    if any(isinstance(f, bool) or not isinstance(f, int | float | np.number) for f in given):
        raise TypeError(f"scale_factor must be a number or two, got {scale_factor!r}")
    factors = [float(f) for f in given]
    if len(factors) != 2 or not all(0 < f < np.inf for f in factors):
        raise ValueError(f"scale_factor must be a positive number or two, got {scale_factor!r}")
    wanted = tuple(int(n * f) for n, f in zip(x.shape[-2:], factors, strict=True))
    if wanted[0] < least[0] or wanted[1] < least[1]:
        raise ValueError(f"scale_factor must leave a pixel, got {scale_factor!r} for x {x.shape}")
    return wanted, list(factors)
