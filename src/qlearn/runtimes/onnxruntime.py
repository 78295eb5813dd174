"""ONNX Runtime's quantized operators, every last bit (Find my wrong integer).

ONNX Runtime 1.32 on x86-64, its CPU provider (MLAS). Arguments stand in the operators' own order; scales are float32,
zero points are of the codes' dtype, uint8 or int8, and say it. Each step is float32, rounded once, unless said.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.rounding import fma
from qlearn.runtimes import portable

__all__ = [
    "dequantize_linear",
    "qlinear_add",
    "qlinear_average_pool",
    "qlinear_global_average_pool",
    "qlinear_leaky_relu",
    "qlinear_mul",
    "qlinear_sigmoid",
    "quantize_linear",
    "requantize",
]

Codes = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


def quantize_linear(x: Floats, y_scale: float, y_zero_point: Any) -> Codes:
    """QuantizeLinear: rint(clip(x / scale, low - zero point, high - zero point)) + zero point; NaN gives the lowest.

    Args:
        x: float32, any shape.
        y_scale: positive.
        y_zero_point: a NumPy uint8 or int8.

    Returns:
        Codes of y_zero_point's dtype and x's shape.

    Raises:
        TypeError: y_zero_point is of another dtype.
    """
    z, low, high = _zero_point("y_zero_point", y_zero_point)
    with np.errstate(all="ignore"):
        v = np.asarray(x, np.float32) / np.float32(y_scale)
    return _rounded(np.where(np.isnan(v), np.float32(low - z), v), z, low, high, y_zero_point.dtype)


def dequantize_linear(x: Codes, x_scale: float, x_zero_point: Any) -> Floats:
    """DequantizeLinear: float32(x - zero point) * scale.

    Args, raises: x is codes; else as ``quantize_linear``.
    """
    z, _, _ = _zero_point("x_zero_point", x_zero_point)
    return np.asarray((np.asarray(x).astype(np.int32) - z).astype(np.float32) * np.float32(x_scale))


def qlinear_add(
    a: Codes, a_scale: float, a_zero_point: Any, b: Codes, b_scale: float, b_zero_point: Any, c_scale: float,
    c_zero_point: Any,
) -> Codes:  # fmt: skip
    """QLinearAdd on a CPU with AVX2 and FMA: both scales over the result's, all zero points in one constant.

    With ra = a_scale / c_scale, rb = b_scale / c_scale and F = zc - fma(ra, za, rb * zb):
    clamp(rint(fma(a, ra, fma(b, rb, F)))). A first operand of one element changes places with the second.

    Args:
        a, b: codes of one dtype; their shapes broadcast.
        a_scale, b_scale, c_scale: positive.
        a_zero_point, b_zero_point, c_zero_point: of the codes' dtype.

    Returns:
        Codes of the dtype.

    Raises:
        TypeError: as ``quantize_linear``.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.size == 1 < b.size:
        return qlinear_add(b, b_scale, b_zero_point, a, a_scale, a_zero_point, c_scale, c_zero_point)
    za, _, _ = _zero_point("a_zero_point", a_zero_point)
    zb, _, _ = _zero_point("b_zero_point", b_zero_point)
    zc, low, high = _zero_point("c_zero_point", c_zero_point)
    ra, rb = (np.float32(s) / np.float32(c_scale) for s in (a_scale, b_scale))
    fixed = np.float32(zc) - fma(ra, za, rb * np.float32(zb))
    total = np.rint(fma(a, ra, fma(b, rb, fixed)))
    return np.asarray(np.clip(total, np.float32(low), np.float32(high)).astype(c_zero_point.dtype))


def qlinear_mul(
    a: Codes, a_scale: float, a_zero_point: Any, b: Codes, b_scale: float, b_zero_point: Any, c_scale: float,
    c_zero_point: Any,
) -> Codes:  # fmt: skip
    """QLinearMul: clamp(rint((a - za)(b - zb) * (a_scale * b_scale / c_scale) + zc)), the zero point first.

    Args, returns, raises: as ``qlinear_add``.
    """
    za, _, _ = _zero_point("a_zero_point", a_zero_point)
    zb, _, _ = _zero_point("b_zero_point", b_zero_point)
    zc, low, high = _zero_point("c_zero_point", c_zero_point)
    product = (np.asarray(a).astype(np.int32) - za) * (np.asarray(b).astype(np.int32) - zb)
    multiplier = np.float32(a_scale) * np.float32(b_scale) / np.float32(c_scale)
    whole = np.rint(product.astype(np.float32) * multiplier + np.float32(zc))
    return np.asarray(np.clip(whole, np.float32(low), np.float32(high)).astype(c_zero_point.dtype))


def requantize(acc: npt.NDArray[np.int32], x_scale: float, w_scale: Any, y_scale: float, y_zero_point: Any) -> Codes:
    """The last step of QLinearMatMul, QGemm and QLinearConv: acc * (x_scale * w_scale / y_scale), as it is quantized.

    rint(clip(..., low - zero point, high - zero point)) + zero point.

    Args:
        acc: int32, its bias in it, shape (..., M).
        x_scale, y_scale: positive.
        w_scale: one, or of shape (M,).
        y_zero_point: a NumPy uint8 or int8.

    Returns, raises: as ``quantize_linear``.
    """
    z, low, high = _zero_point("y_zero_point", y_zero_point)
    multiplier = np.float32(x_scale) * np.asarray(w_scale, np.float32) / np.float32(y_scale)
    return _rounded(np.asarray(acc).astype(np.float32) * multiplier, z, low, high, y_zero_point.dtype)


def qlinear_average_pool(
    x: Codes, x_scale: float, x_zero_point: Any, y_scale: float, y_zero_point: Any, kernel_shape: tuple[int, int]
) -> Codes:
    """QLinearAveragePool without padding, strides as the kernel: real numbers summed in order, one by one.

    mean = sum / n; clamp(rint(mean / y_scale + zero point)): the zero point before the rounding. A kernel that is the
    whole image goes through ``qlinear_global_average_pool``.

    Args:
        x: codes, (N, C, H, W), H and W multiples of the kernel's.
        kernel_shape: height and width.

    Returns:
        Codes, (N, C, H / kernel height, W / kernel width).

    Raises:
        TypeError: as ``quantize_linear``.
        ValueError: H and W are no multiples.
    """
    z, low, high = _zero_point("y_zero_point", y_zero_point)
    (kh, kw), (h, w) = kernel_shape, x.shape[-2:]
    if h % kh or w % kw:
        raise ValueError(f"kernel_shape must divide the image, got {kernel_shape} for {h} x {w}")
    if (kh, kw) == (h, w):
        return qlinear_global_average_pool(x, x_scale, x_zero_point, y_scale, y_zero_point)
    real = dequantize_linear(x, x_scale, x_zero_point).reshape(*x.shape[:-2], h // kh, kh, w // kw, kw)
    total = np.zeros((*x.shape[:-2], h // kh, w // kw), np.float32)
    for i in range(kh):
        for j in range(kw):
            total = total + real[..., i, :, j]
    whole = np.rint(total / np.float32(kh * kw) / np.float32(y_scale) + np.float32(z))
    return np.asarray(np.clip(whole, np.float32(low), np.float32(high)).astype(y_zero_point.dtype))


def qlinear_global_average_pool(
    x: Codes, x_scale: float, x_zero_point: Any, y_scale: float, y_zero_point: Any
) -> Codes:
    """QLinearGlobalAveragePool: the integer sum S times x_scale / (y_scale * n), as ``requantize`` rounds it.

    Args:
        x: codes, (N, C, H, W), fewer than 2**16 in an image.

    Returns:
        Codes, (N, C, 1, 1).

    Raises:
        TypeError: as ``quantize_linear``.
    """
    zx, _, _ = _zero_point("x_zero_point", x_zero_point)
    z, low, high = _zero_point("y_zero_point", y_zero_point)
    total = (np.asarray(x).astype(np.int64) - zx).sum((-2, -1), keepdims=True)
    n = x.shape[-1] * x.shape[-2]
    multiplier = np.float32(x_scale) / (np.float32(y_scale) * np.float32(n))
    return _rounded(total.astype(np.float32) * multiplier, z, low, high, y_zero_point.dtype)


def qlinear_sigmoid(x: Codes, x_scale: float, x_zero_point: Any, y_scale: float, y_zero_point: Any) -> Codes:
    """QLinearSigmoid: each code dequantized, 1 / (1 + exp(-x)) rounded to float32, and quantized.

    Args, returns, raises: as ``quantize_linear``.
    """
    real = dequantize_linear(x, x_scale, x_zero_point).astype(np.float64)
    return quantize_linear((1 / (1 + portable.exp(-real))).astype(np.float32), y_scale, y_zero_point)


def qlinear_leaky_relu(
    x: Codes, x_scale: float, x_zero_point: Any, y_scale: float, y_zero_point: Any, alpha: float = 0.01
) -> Codes:
    """QLinearLeakyRelu: each code dequantized, x >= 0 ? x : alpha * x in float32, and quantized.

    Args, returns, raises: as ``quantize_linear``.
    """
    real = dequantize_linear(x, x_scale, x_zero_point)
    return quantize_linear(np.where(real >= 0, real, real * np.float32(alpha)), y_scale, y_zero_point)


def _rounded(v: Floats, z: int, low: int, high: int, dtype: Any) -> Codes:
    """rint(clip(v)) + z: the clip leaves room for the zero point."""
    clipped = np.clip(v, np.float32(low - z), np.float32(high - z))
    return np.asarray((np.rint(clipped).astype(np.int32) + z).astype(dtype))


def _zero_point(name: str, value: Any) -> tuple[int, int, int]:
    """The zero point, and the range of its dtype."""
    dtype = getattr(value, "dtype", None)
    if dtype not in (np.dtype(np.uint8), np.dtype(np.int8)):
        raise TypeError(f"{name} must be a NumPy uint8 or int8, which says the dtype of the codes, got {value!r}")
    info = np.iinfo(dtype)
    return int(value), int(info.min), int(info.max)
