"""LiteRT's int8 operators, every last bit: its three kernels for each (Find my wrong integer).

LiteRT (TensorFlow Lite) 2.3 on x86-64 with AVX2. kernel is "reference" (BUILTIN_REF), "optimized" (the built-in kernels
without a delegate) or "xnnpack" (the default). Codes are int8; scales are float32 numbers, zero points integers.

Multipliers become 31 bits and a power of two. "double" rounds a product twice, in the saturating rounding doubling high
multiply, ties up, and in a rounding division, ties away; "ruy" the same, ties up in both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.network.arithmetic import rounded
from qlearn.runtimes import portable

__all__ = [
    "KERNELS",
    "add",
    "average_pool_2d",
    "dequantize",
    "hard_swish",
    "leaky_relu",
    "logistic",
    "mul",
    "quantize",
    "requantize",
    "tanh",
]

Codes = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Parameters = tuple[float, int]
KERNELS = ("reference", "optimized", "xnnpack")


def quantize(x: Floats, scale: float, zero_point: int, *, kernel: str) -> Codes:
    """QUANTIZE: reference round(x / scale), ties away; else rint(x * (1 / scale)), in float32; + zero point.

    What int32 does not hold becomes -2**31 in reference and optimized, and the sum with the zero point wraps; XNNPACK
    clamps before it rounds, and NaN gives 127.

    Args:
        x: float32, any shape.
        scale, zero_point: of the result.
        kernel: one of ``KERNELS``.

    Returns:
        int8, of x's shape.

    Raises:
        ValueError: an unknown kernel.
    """
    s, real = np.float32(scale), np.asarray(x, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        v = real / s if _is(kernel, "reference") else real * (np.float32(1) / s)
        if kernel == "xnnpack":
            most = np.fmin(v, np.float32(127 - zero_point))
            return _int8(np.rint(np.maximum(most, np.float32(-128 - zero_point))) + zero_point)
        whole = (rounded(v, "away") if kernel == "reference" else np.rint(v)).astype(np.float64)
        held = np.where((whole >= -(2.0**31)) & (whole < 2.0**31), whole, -(2.0**31)).astype(np.int64)
        return _int8((held + zero_point).astype(np.int32))


def dequantize(q: Codes, scale: float, zero_point: int, *, kernel: str) -> Floats:
    """DEQUANTIZE: (q - zero point) * scale; optimized q * scale + (-zero point * scale) in blocks of 16, the rest so.

    Args, raises: q is int8; else as ``quantize``.
    """
    s = np.float32(scale)
    y = (q.astype(np.int32) - zero_point).astype(np.float32) * s
    if _is(kernel, "optimized"):
        n = q.size - q.size % 16
        y.reshape(-1)[:n] = (q.astype(np.float32) * s + np.float32(-zero_point) * s).reshape(-1)[:n]
    return np.asarray(y)


def add(
    a: Codes, b: Codes, a_quantization: Parameters, b_quantization: Parameters, quantization: Parameters, *,
    kernel: str, relu: bool = False,
) -> Codes:  # fmt: skip
    """ADD of two tensors of one shape.

    - reference: both differences shifted left by 20, "double" three times.
    - optimized: each shifted by its exponent before it is multiplied; the last size % 16 elements as the reference.
    - xnnpack: multipliers of 21 bits, one shift, ties up.

    Args:
        a, b: int8, of one shape.
        a_quantization, b_quantization, quantization: scale and zero point, of the result too.
        kernel: one of ``KERNELS``.
        relu: whether a fused RELU cuts at the zero point.

    Returns:
        int8, of their shape.

    Raises:
        ValueError: an unknown kernel.
    """
    (sa, za), (sb, zb), (s, z) = a_quantization, b_quantization, quantization
    x, y = (t.astype(np.int64) - zero for t, zero in ((a, za), (b, zb)))
    if _is(kernel, "xnnpack"):
        return _int8(_add_of_xnnpack(x, y, sa, sb, s) + z, z if relu else -128)
    wide = [np.float64(np.float32(scale)) for scale in (sa, sb, s)]
    twice = 2 * max(wide[:2])
    (qa, ea), (qb, eb) = (multiplier_of(scale / twice) for scale in wide[:2])
    out = multiplier_of(twice / (2**20 * wide[2]))
    total = divided(high(x << 20, qa), -ea) + divided(high(y << 20, qb), -eb)
    if kernel == "optimized":
        n = a.size - a.size % 16
        early = high(_shifted(x, 20 + ea), qa) + high(_shifted(y, 20 + eb), qb)
        total.reshape(-1)[:n] = early.reshape(-1)[:n]
    return _int8(double(total, *out) + z, z if relu else -128)


def _shifted(x: Ints, by: int) -> Ints:
    return x << by if by >= 0 else x >> -by


def _add_of_xnnpack(x: Ints, y: Ints, sa: float, sb: float, s: float) -> Ints:
    ra, rb = (np.float32(scale) / np.float32(s) for scale in (sa, sb))
    shift = 20 - (int(np.frexp(max(ra, rb))[1]) - 1)
    ma, mb = (int(np.rint(np.ldexp(np.float64(r), shift))) for r in (ra, rb))
    return (ma * x + mb * y + (1 << (shift - 1))) >> shift


def mul(
    a: Codes, b: Codes, a_quantization: Parameters, b_quantization: Parameters, quantization: Parameters, *,
    kernel: str, relu: bool = False,
) -> Codes:  # fmt: skip
    """MUL of two tensors of one shape: reference and optimized "double"; xnnpack rint(float32(product) * multiplier).

    The multiplier is a_scale * b_scale / scale in float32.

    Args, returns, raises: as ``add``.
    """
    (sa, za), (sb, zb), (s, z) = a_quantization, b_quantization, quantization
    product = (a.astype(np.int64) - za) * (b.astype(np.int64) - zb)
    if _is(kernel, "xnnpack"):
        multiplier = np.float32(np.float32(sa) * np.float32(sb)) / np.float32(s)
        whole = np.rint(product.astype(np.float32) * multiplier).astype(np.int64)
    else:
        whole = double(product, *multiplier_of(np.float32(sa) * np.float32(sb) / np.float32(s)))
    return _int8(whole + z, z if relu else -128)


def requantize(
    acc: npt.NDArray[np.int32], x_scale: float, w_scale: float, quantization: Parameters, *, kernel: str,
    operator: str, per_channel: bool = False, relu: bool = False,
) -> Codes:  # fmt: skip
    """The last step of CONV_2D or FULLY_CONNECTED.

    - reference: CONV_2D "double"; FULLY_CONNECTED a float64 product, rounded, ties away.
    - optimized: "ruy"; FULLY_CONNECTED per tensor from the float32 product of both scales.
    - xnnpack: rint(min(float32(acc) * (x_scale * w_scale / scale), 127 - zero point)), in float32.

    Args:
        acc: int32, its bias in it, any shape.
        x_scale, w_scale: of the input, and of the weight (of this channel).
        quantization: scale and zero point of the result.
        kernel: one of ``KERNELS``.
        operator: "conv_2d" or "fully_connected".
        per_channel: whether the weight has a scale for each channel.
        relu: whether a fused RELU cuts at the zero point.

    Returns:
        int8, of acc's shape.

    Raises:
        ValueError: an unknown kernel or operator.
    """
    if operator not in ("conv_2d", "fully_connected"):
        raise ValueError(f"operator must be conv_2d or fully_connected, got {operator!r}")
    s, z = quantization
    x, w, out = (np.float32(scale) for scale in (x_scale, w_scale, s))
    real = np.float64(x) * np.float64(w) / np.float64(out)
    if _is(kernel, "xnnpack"):
        y = np.minimum(acc.astype(np.float32) * (x * w / out), np.float32(127 - z))
        whole = np.rint(y).astype(np.int64)
    elif kernel == "optimized":
        if operator == "fully_connected" and not per_channel:
            real = np.float64(x * w) / np.float64(out)
        whole = ruy(acc.astype(np.int64), *multiplier_of(real))
    elif operator == "fully_connected":
        whole = rounded(np.asarray(acc * real), "away").astype(np.int64)
    else:
        whole = double(acc.astype(np.int64), *multiplier_of(real))
    return _int8(whole + z, z if relu else -128)


def average_pool_2d(windows: Codes, *, kernel: str) -> Codes:
    """AVERAGE_POOL_2D of windows, (..., n): the sum of the codes divided in integers, ties away; all kernels alike.

    Args:
        windows: int8, the codes that each window sees of the image along the last axis.
        kernel: "reference" or "optimized"; XNNPACK does not take it.

    Returns:
        int8, shape (...).

    Raises:
        ValueError: an unknown kernel, or "xnnpack".
    """
    if _is(kernel, "xnnpack"):
        raise ValueError("kernel must be reference or optimized for average_pool_2d, which XNNPACK leaves to them")
    n, total = windows.shape[-1], windows.astype(np.int64).sum(-1)
    return _int8(np.where(total > 0, (total + n // 2) // n, -((n // 2 - total) // n)))


def logistic(q: Codes, scale: float, zero_point: int, *, kernel: str) -> Codes:
    """LOGISTIC: rint(256 / (1 + exp(-x))) - 128, x and all else exact; the result's scale is 1/256. All kernels alike.

    Args, raises: q is int8, scale and zero_point are its own; else as ``quantize``.
    """
    _is(kernel, "reference")
    x = (q.astype(np.float64) - zero_point) * np.float64(np.float32(scale))
    return _int8(np.rint(256 / (1 + portable.exp(-x))) - 128)


def tanh(q: Codes, scale: float, zero_point: int, *, kernel: str) -> Codes:
    """TANH: rint(128 * tanh(x)), x and all else exact; the result's scale is 1/128. All kernels alike.

    Args, raises: as ``logistic``.
    """
    _is(kernel, "reference")
    x = (q.astype(np.float64) - zero_point) * np.float64(np.float32(scale))
    return _int8(np.rint(128 * portable.tanh(x)))


def hard_swish(q: Codes, q_quantization: Parameters, quantization: Parameters, *, kernel: str) -> Codes:
    """HARD_SWISH in 16-bit fixed point: x by one multiplier, x + 3 within 6 by another, their product.

    Args:
        q: int8.
        q_quantization, quantization: scale and zero point of the input and the result.
        kernel: "reference" or "optimized", which are alike; XNNPACK does not take it.

    Returns:
        int8, of q's shape.

    Raises:
        ValueError: an unknown kernel, or "xnnpack".
    """
    if _is(kernel, "xnnpack"):
        raise ValueError("kernel must be reference or optimized for hard_swish, which XNNPACK leaves to them")
    (s_in, z_in), (s_out, z) = q_quantization, quantization
    fine = np.float32(1 / 128) * np.float32(s_in)
    (m_out, e_out), (m, e) = (_of_16_bits(fine / to) for to in (np.float32(s_out), np.float32(3 / 32768)))
    v = (q.astype(np.int64) - z_in) << 7
    scaled = high_16(v, m_out)
    gate = v
    if e > 0:
        gate = _int16(gate << (e - 1))
    gate = high_16(gate, m)
    gate = _int16(gate << 1) if e > 0 else divided(gate, -e)
    gate = (gate + 2**15) >> 1
    product = gate * scaled
    return _int8(divided(np.where(product >= 0, product >> 15, -(-product >> 15)), -e_out) + z)


def leaky_relu(q: Codes, q_quantization: Parameters, quantization: Parameters, alpha: float, *, kernel: str) -> Codes:
    """LEAKY_RELU by the kernels "reference" and "optimized", which are alike: "double", by one of two multipliers.

    Args, returns, raises: as ``hard_swish``; alpha is the slope of negative numbers.
    """
    if _is(kernel, "xnnpack"):
        raise ValueError("kernel must be reference or optimized for leaky_relu; XNNPACK's is not here")
    (s_in, z_in), (s_out, z) = q_quantization, quantization
    x = q.astype(np.int64) - z_in
    ratio = np.float64(np.float32(s_in)) / np.float64(np.float32(s_out))
    slope = np.float64(np.float32(s_in) * np.float32(alpha)) / np.float64(np.float32(s_out))
    return _int8(np.where(x >= 0, double(x, *multiplier_of(ratio)), double(x, *multiplier_of(slope))) + z)


# Fixed point


def multiplier_of(real: Any) -> tuple[int, int]:
    """A real number as q * 2**(exponent - 31), q of 31 bits, ties away; 0 where that is below 2**-31."""
    fraction, exponent = np.frexp(np.float64(real))
    q = int(np.floor(abs(fraction) * 2.0**31 + 0.5)) * (1 if fraction >= 0 else -1)
    if abs(q) == 2**31:
        q, exponent = q // 2, exponent + 1
    return (0, 0) if exponent < -31 else (q, int(exponent))


def high(a: Ints, q: int) -> Ints:
    """The saturating rounding doubling high multiply: a * q / 2**31 to the nearest, ties up."""
    return (a * np.int64(q) + 2**30) >> 31


def divided(x: Ints, exponent: int) -> Ints:
    """x / 2**exponent to the nearest, ties away."""
    if exponent == 0:
        return x
    mask = (1 << exponent) - 1
    return np.asarray((x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0)))


def double(x: Ints, q: int, exponent: int) -> Ints:
    """x * q * 2**(exponent - 31), rounded twice, ties away in the second."""
    return divided(high(x << max(exponent, 0), q), max(-exponent, 0))


def ruy(x: Ints, q: int, exponent: int) -> Ints:
    """x * q * 2**(exponent - 31), rounded twice, ties up."""
    right = max(-exponent, 0)
    return (high(x << max(exponent, 0), q) + ((1 << right) >> 1)) >> right


def high_16(a: Ints, q: int) -> Ints:
    """``high`` of 16 bits."""
    return _int16((a * q + 2**14) >> 15)


def _of_16_bits(real: Any) -> tuple[int, int]:
    q, exponent = multiplier_of(np.float64(real))
    return min((q + 2**15) >> 16, 2**15 - 1), exponent


def _int16(x: Ints) -> Ints:
    return np.clip(x, -(2**15), 2**15 - 1)


def _int8(whole: Any, low: int = -128) -> Codes:
    return np.asarray(np.clip(whole, low, 127)).astype(np.int8)


def _is(kernel: str, name: str) -> bool:
    """Whether it is this kernel; a ValueError for one that is not there."""
    if kernel not in KERNELS:
        raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {kernel!r}")
    return kernel == name
