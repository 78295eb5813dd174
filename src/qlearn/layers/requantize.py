"""From the int32 accumulator to 8 bits, one function per engine (Chapter 6, Accumulate and requantize).

The accumulator counts in steps of x_scale * w_scale; the result in steps of scale. Each engine has its own order of
bias, scales, zero point and rounding, and oneDNN one for each kind of kernel, so each gives other integers near a tie.
The output channels are the last axis. All steps are float32, each rounded once, unless said.
"""

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.rounding import add_then_round, fma, reciprocal, saturate
from qlearn.layers.accumulate import to_int32

__all__ = [
    "fbgemm",
    "fbgemm_depthwise",
    "onednn_2",
    "onednn_avx2",
    "onednn_divided",
    "onednn_gemm",
    "onednn_linear_scale",
    "onednn_reference",
    "onednn_vnni",
    "qnnpack",
    "together",
]

Codes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Sums = npt.NDArray[Any]
Step = Callable[..., Codes]
Accum = tuple[Codes, float, int]
Scales = npt.NDArray[np.floating[Any]]


PIECE = 2**17  # elements that are requantized at once: the steps find them in the cache
ROW = 2**13  # elements of a row, at most: NumPy's loops over short rows take longer


def together(
    step: Step, bias: Floats, x_scale: float, w_scale: Scales, scale: float, zero_point: int, *, relu: bool
) -> Callable[[Sums], Codes]:
    """acc -> step(acc, bias, ...), one of the functions below, in pieces; several short rows count as one."""
    repeated: dict[int, tuple[Floats, Scales]] = {}

    def codes_of(acc: Sums) -> Codes:
        many, channels = prod(acc.shape[:-1]), acc.shape[-1]
        times = largest_divisor(many, ROW // max(1, channels))
        if times not in repeated:
            repeated[times] = np.tile(bias, times), np.tile(w_scale, times) if w_scale.ndim else w_scale
        biases, scales = repeated[times]
        rows = acc.reshape(many // times, times * channels)
        codes, some = np.empty(rows.shape, np.uint8), max(1, PIECE // max(1, rows.shape[1]))
        for i in range(0, len(rows), some):
            codes[i : i + some] = step(rows[i : i + some], biases, x_scale, scales, scale, zero_point, relu=relu)
        return codes.reshape(acc.shape)

    return codes_of


@lru_cache
def largest_divisor(n: int, most: int) -> int:
    """Of n, not larger than most; at least 1."""
    return max((d for d in range(1, most + 1) if n % d == 0), default=1)


def fbgemm(
    acc: Sums, bias: Floats, x_scale: float, w_scale: Scales, scale: float, zero_point: int, *, relu: bool
) -> Codes:
    """The engine fbgemm, and x86 where it uses FBGEMM (Chapter 6).

    With t = x_scale * w_scale: clamp(rint((acc + bias / t) * (t / scale)) + zero_point). Per channel that is a
    division; per tensor it is fma(bias, 1 / t, acc). A product that int32 does not hold gives the lowest code. Source:
    ``qlinear.cpp`` PackedLinearWeight::apply_impl; FBGEMM ``QuantUtilsAvx2.cc`` requantizeOutputProcessingAvx2.

    Args:
        acc: sums of (x - x_zero_point) * (w - w_zero_point), int32, or float32 where all fit; shape (..., M).
        bias: shape (M,).
        x_scale: of the input.
        w_scale: of the weight: shape () per tensor, (M,) per channel.
        scale, zero_point: of the result.
        relu: whether codes below zero_point become zero_point.

    Returns:
        uint8, of acc's shape.
    """
    with _quiet():
        t = np.float32(x_scale) * w_scale.astype(np.float32)
        a = _float32(acc)
        total = fma(bias, reciprocal(t), a) if w_scale.ndim == 0 else a + bias / t
        total *= t / np.float32(scale)
        return _round_then_add(total, zero_point, relu=relu)


def fbgemm_depthwise(
    acc: Sums, bias: Floats, x_scale: float, w_scale: Scales, scale: float, zero_point: int, *, relu: bool
) -> Codes:
    """FBGEMM's depthwise kernel since PyTorch 2.14: ``fbgemm``, but per tensor acc + bias * (1 / t) in two steps.

    Source: FBGEMM ``FbgemmI8DepthwiseAvx2-inl.h`` ``requantize_``.

    Args, returns: as ``fbgemm``.
    """
    with _quiet():
        t = np.float32(x_scale) * w_scale.astype(np.float32)
        total = _float32(acc) + (bias * reciprocal(t) if w_scale.ndim == 0 else bias / t)
        total *= t / np.float32(scale)
        return _round_then_add(total, zero_point, relu=relu)


def qnnpack(
    acc: Sums, bias: Floats, x_scale: float, w_scale: Scales, scale: float, zero_point: int, *, relu: bool
) -> Codes:
    """The engine qnnpack: the bias becomes an integer first (Chapter 6).

    With b = rint(bias * (1 / float32(w_scale * x_scale))), that product in float64, clamped to int32:
    clamp(rint((acc + b) * ((w_scale * x_scale) * (1 / scale))) + zero_point). Source: ``qlinear.cpp``
    PackedLinearWeightsQnnp::apply_impl; ``QnnpackUtils.h`` generate_requantization_scales; QNNPACK ``q8gemm``.

    Args, returns: as ``fbgemm``.

    Raises:
        ValueError: a multiplier is not a normal float32 number, which QNNPACK refuses.
    """
    with _quiet():
        b = saturate(add_then_round(bias * reciprocal(w_scale * x_scale), 0), np.int32)
        multiplier = (w_scale.astype(np.float32) * np.float32(x_scale)) * reciprocal(scale)
        refused = ~(np.isfinite(multiplier) & (multiplier >= np.finfo(np.float32).tiny))
        if refused.any():
            wrong = np.asarray(multiplier)[refused].flat[0]
            raise ValueError(f"scale must give a normal x_scale * w_scale / scale on the engine qnnpack, got {wrong}")
        return _round_then_add((to_int32(acc) + b).astype(np.float32) * multiplier, zero_point, relu=relu)


def _onednn(
    name: str, doc: str, *, together: bool, divided: bool = False, nan: int = 0, reference: bool = False
) -> Step:
    """One of oneDNN 3's orders of steps, as a function of that name.

    Args:
        together: acc * (R(x_scale) * w_scale), the scales multiplied first; else acc * R(x_scale) * w_scale.
        divided: y / R(scale); else y * (1 / R(scale)).
        nan: the code of NaN, which only a bias brings in; with relu and 255 it is zero_point.
        reference: whether accum is added in two roundings, and relu multiplies what is not positive by 0.
    """

    def step(
        acc: Sums,
        bias: Floats,
        x_scale: float,
        w_scale: Scales,
        scale: float,
        zero_point: int,
        *,
        relu: bool,
        accum: Accum | None = None,
    ) -> Codes:
        with _quiet():
            w = w_scale.astype(np.float32)
            if together:
                y = _float32(acc) * (_twice_inverted(x_scale) * w)
            else:
                y = _float32(acc) * _twice_inverted(x_scale)
                y *= w
            y += bias
            y = _add(y, accum, fused=not reference)
            y = (_relu_of_reference if reference else _relu)(y, relu)
            if divided:
                y /= _twice_inverted(scale)
            else:
                y *= reciprocal(_twice_inverted(scale))
            return _add_then_round(y, zero_point, nan=nan, positive=relu)

    step.__name__ = step.__qualname__ = name
    step.__doc__ = doc
    return step


onednn_vnni = _onednn(
    "onednn_vnni",
    """oneDNN's kernels for AVX-512: real numbers first, then their quantization (Chapter 6).

    PyTorch inverts each scale twice on the way: R(s) = 1 / float32(1 / s), the inner division in float64.
    y = (acc * R(x_scale)) * w_scale + bias; relu takes max(y, 0); clamp(rint(y * (1 / R(scale)) + zero_point)). NaN,
    which only a bias brings in, gives 255, with relu zero_point. Source: ``qlinear.cpp``
    PackedLinearWeightsOnednn::apply_impl, ``qconv.cpp`` PackedConvWeightsOnednn::apply_impl; oneDNN
    ``jit_brgemm_kernel.cpp``, ``jit_avx512_core_x8s8s32x_conv_kernel.cpp``.

    Args, returns: as ``fbgemm``; w_scale as oneDNN has it: float32 of the weight's in a convolution,
    ``onednn_linear_scale`` of it in a linear layer. accum, of another tensor: codes of acc's shape, scale, zero point;
    its real numbers are added to y.
    """,
    together=False,
    nan=255,
)

onednn_divided = _onednn(
    "onednn_divided",
    """oneDNN 3.13's linear layer on AVX-512, since PyTorch 2.15: ``onednn_vnni``, but y / R(scale) (Chapter 8).

    Source: oneDNN ``jit_brgemm_kernel.cpp``.

    Args, returns: as ``onednn_vnni``.
    """,
    together=False,
    divided=True,
    nan=255,
)

onednn_gemm = _onednn(
    "onednn_gemm",
    """oneDNN's kernel that multiplies matrices, and most for AMX: ``onednn_vnni`` with ``onednn_avx2``'s y (Chapter 7).

    Source: oneDNN ``jit_gemm_x8s8s32x_convolution_utils.cpp``, ``jit_brgemm_amx_uker.cpp``.

    Args, returns: as ``onednn_vnni``.
    """,
    together=True,
    nan=255,
)

onednn_avx2 = _onednn(
    "onednn_avx2",
    """oneDNN's kernels for AVX2: ``onednn_vnni`` with y = acc * (R(x_scale) * w_scale) + bias (Chapter 6).

    Source: oneDNN ``scale_utils.cpp`` precompute_scales, ``jit_uni_x8s8s32x_convolution.cpp``,
    ``gemm_x8s8s32x_matmul.cpp``.

    Args, returns: as ``onednn_vnni``.
    """,
    together=True,
)

onednn_reference = _onednn(
    "onednn_reference",
    """oneDNN without a kernel for the shape: ``onednn_vnni``, but y is divided by R(scale) (Chapter 7).

    The real numbers of accum are added in two roundings. Its relu multiplies what is not positive by 0, so that -inf
    becomes NaN, and NaN 0.

    Source: oneDNN ``ref_convolution_int8.cpp``.

    Args, returns: as ``onednn_vnni``.
    """,
    together=False,
    divided=True,
    reference=True,
)


def onednn_2(
    acc: Sums,
    bias: Floats,
    x_scale: float,
    w_scale: Scales,
    scale: float,
    zero_point: int,
    *,
    relu: bool,
    accum: Accum | None = None,
) -> Codes:
    """oneDNN 2, of PyTorch 1.13 and 2.0: the bias in steps of the accumulator, and one multiplier (Chapter 8).

    With the inverses float32(1 / x_scale) and float32(1 / scale), divided in float64, 1 / w_scale as well, but in
    float32 per channel, t = (1 / x_scale) * (1 / w_scale) and m = (1 / scale) / t: y = (acc + bias * t) * m, and with
    accum fma(q - z, accum_scale * (1 / scale), y); relu takes max(y, 0); clamp(rint(y + zero_point)).

    Source: ideep ``matmul.hpp``, ``conv.hpp`` compute_impl (op_scales, bias_scales).

    Args, returns: as ``onednn_vnni``, but w_scale is the weight's own, in a linear layer too.
    """
    with _quiet():
        w_inverse = np.float32(1.0 / w_scale) if w_scale.ndim == 0 else reciprocal(w_scale)
        t = np.float32(1.0 / x_scale) * w_inverse
        m = np.float32(1.0 / scale) / t
        y = _float32(acc) + bias * t
        y *= m
        if accum is not None:
            codes, accum_scale, accum_zero_point = accum
            ratio = np.float32(accum_scale) * np.float32(1.0 / scale)
            y = fma(codes.astype(np.float32) - np.float32(accum_zero_point), ratio, y)
        y = _relu(y, relu)
        return _add_then_round(y, zero_point)


def onednn_linear_scale(w_scale: Scales) -> Floats:
    """The weight's scale as oneDNN has it in a linear layer, inverted twice (Chapter 6).

    R(w_scale) of ``onednn_vnni`` per tensor; per channel both divisions are float32. Source: ``qlinear_prepack.cpp``
    PackedLinearWeightsOnednn::prepack.
    """
    with _quiet():
        return _twice_inverted(w_scale) if w_scale.ndim == 0 else reciprocal(reciprocal(w_scale))


def _add(y: Floats, accum: Accum | None, *, fused: bool = True) -> Floats:
    """Add the real numbers of another tensor, (accum - accum_zero_point) * (1 / (1 / accum_scale)), all in float32.

    A fused multiply-add, but in the reference, which rounds twice. Source: ``qconv.cpp``
    PackedConvWeightsOnednn::apply_impl, ideep ``conv.hpp`` (sum_scale); oneDNN
    ``primitive_attr_postops.cpp`` ref_post_ops_t::execute.
    """
    if accum is None:
        return y
    codes, scale, zero_point = accum
    q, s = codes.astype(np.float32) - np.float32(zero_point), reciprocal(reciprocal(scale))
    return fma(q, s, y) if fused else y + q * s


def _float32(acc: Sums) -> Floats:
    """Sums as float32: themselves, where they are."""
    return acc.astype(np.float32, copy=False)


def _relu(y: Floats, relu: bool) -> Floats:
    """max(y, 0) as the instruction maxps has it: NaN gives 0."""
    return np.fmax(y, _row(0, y.shape[-1]), out=y) if relu else y


def _relu_of_reference(y: Floats, relu: bool) -> Floats:
    """y, multiplied by 0 where it is not positive: -inf gives NaN."""
    return np.where(y > 0, y, y * np.float32(0)) if relu else y


@lru_cache
def _row(number: int, length: int) -> Floats:
    """One number, many times: NumPy compares with a row in less time than with the number alone."""
    return np.full(length, number, np.float32)


def _add_then_round(y: Floats, zero_point: int, *, nan: int = 0, positive: bool = False) -> Codes:
    """rint(y + zero_point), clamped to 8 bits; y is overwritten.

    fmax and fmin take a number rather than NaN, so the first of them says what it becomes, 0 or 255.
    """
    if zero_point:
        y += np.float32(zero_point)
    codes = np.rint(y, out=y)
    low, high = _row(0, y.shape[-1]), _row(255, y.shape[-1])
    if not nan:
        np.fmax(codes, low, out=codes)
    np.fmin(codes, high, out=codes)
    if nan and not positive:
        np.fmax(codes, low, out=codes)
    return codes.astype(np.uint8)


def _quiet() -> np.errstate:
    """Infinities and NaN arise where PyTorch's own do."""
    return np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore")


def _twice_inverted(scale: Any) -> Floats:
    """1 / float32(1 / scale): the inner division in float64, the outer one in float32."""
    return _kept(scale) if isinstance(scale, float) else reciprocal(1.0 / np.asarray(scale, np.float64))


@lru_cache
def _kept(scale: float) -> Floats:
    """``_twice_inverted`` of one number, from call to call of a layer."""
    return reciprocal(1.0 / np.float64(scale))


def _round_then_add(y: Floats, zero_point: int, *, relu: bool) -> Codes:
    """rint(y) + zero_point in the range of 8 bits; what int32 does not hold gives the lowest code. y is overwritten."""
    low = zero_point if relu else 0
    whole = np.rint(y, out=y)
    if not whole.max(initial=0) < 2**31:  # NaN neither
        whole[~(whole < 2**31)] = -(2**31)
    whole.clip(np.float32(low - zero_point), np.float32(255 - zero_point), out=whole)
    if zero_point:
        whole += np.float32(zero_point)
    return whole.astype(np.uint8)
