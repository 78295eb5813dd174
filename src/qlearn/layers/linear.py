"""The quantized linear layer (Chapter 6, Accumulate and requantize)."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor, check_scale, check_zero_point
from qlearn.elementwise.sums_and_products import check_per_tensor
from qlearn.layers import amx, requantize
from qlearn.layers.accumulate import Factor, factor, saturation_loss, sums_of_products, to_int32
from qlearn.machine.machine import Machine
from qlearn.machine.releases import ONEDNN_DIVIDES, ONEDNN_SCALES_IN_ONE, ONEDNN_SCALES_TOGETHER

__all__ = ["check_bias", "check_weight", "check_x", "linear", "linear_relu"]

Floats = npt.NDArray[np.float32]


def linear(
    x: QTensor,
    weight: QTensor,
    bias: npt.ArrayLike | None,
    scale: float,
    zero_point: int,
    *,
    machine: Machine | None = None,
) -> QTensor:
    """x @ weight.T + bias, as torch.ops.quantized.linear computes it (Chapter 6).

    acc = sum_k (x_k - x_zero_point) * (w_k - w_zero_point) in int32, then the engine's ``qlearn.layers.requantize``;
    x86 is fbgemm here. The number of threads does not matter, the capability only as ``Machine.avx512`` asks for it,
    the number of rows only on oneDNN with AMX. Without VNNI, FBGEMM and oneDNN clamp the sum of each two neighbouring
    products x_k * w_k to 16 bits. Source: ``qlinear.cpp`` apply_impl; FBGEMM ``fbgemmPacked``; oneDNN
    ``gemm_x8s8s32x_matmul.cpp``, ``brgemm_matmul.cpp``; QNNPACK ``q8gemm``.

    Args:
        x: quint8, per tensor, shape (..., K) with K >= 1 and at least two dimensions (one on onednn), any strides.
        weight: qint8, shape (M, K), per tensor or per channel along axis 0.
        bias: float32, shape (M,), real numbers; None stands for zeros.
        scale: of the result; positive and finite, as float32 too.
        zero_point: of the result, 0 to 255.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        quint8, shape (..., M), contiguous; on the engine onednn (0, M) where x is empty.

    Raises:
        TypeError: x or weight is not a QTensor, bias is not float32, machine is not a Machine.
        ValueError: shapes that do not fit, a dtype or qscheme that PyTorch does not take, scale or zero_point out of
            its range, weight zero points other than 0 on the engine onednn, on qnnpack scales whose
            x_scale * w_scale / scale is not a normal float32 number.
    """
    return _linear(x, weight, bias, scale, zero_point, machine, relu=False)


def linear_relu(
    x: QTensor,
    weight: QTensor,
    bias: npt.ArrayLike | None,
    scale: float,
    zero_point: int,
    *,
    machine: Machine | None = None,
) -> QTensor:
    """``linear``, with negative results made 0: torch.ops.quantized.linear_relu (Chapter 6).

    Args, returns, raises: as ``linear``.
    """
    return _linear(x, weight, bias, scale, zero_point, machine, relu=True)


def _linear(
    x: QTensor, weight: QTensor, bias: Any, scale: Any, zero_point: Any, machine: Machine | None, *, relu: bool
) -> QTensor:
    machine = Machine.of(machine)
    check_x(x)
    check_weight(weight)
    least = 1 if machine.engine == "onednn" else 2
    if x.ndim < least:
        raise ValueError(f"x must have at least {least} dimensions on the engine {machine.engine}, got {x.ndim}")
    if x.shape[-1] == 0:
        raise ValueError(f"x must have at least one feature, its last axis, got shape {x.shape}")
    if weight.ndim != 2 or weight.shape[1] != x.shape[-1]:
        raise ValueError(f"weight must have shape (M, {x.shape[-1]}), for x of shape {x.shape}, got {weight.shape}")
    scale, zero_point = check_scale(scale), check_zero_point(zero_point, "quint8")
    real_bias = check_bias(bias, weight.shape[0])
    if machine.engine == "onednn":
        check_symmetric(weight)

    rows = x.shape[:-1] if x.size or machine.engine != "onednn" else (0,)  # oneDNN flattens what is empty
    codes = x.int_repr().reshape(1, prod(rows), x.shape[-1])  # (1, B, K)
    f = weight.once(_factor, max(x.q_zero_point(), 255 - x.q_zero_point()))
    acc = sums_of_products(codes.astype(np.float32) - np.float32(x.q_zero_point()), f)  # (1, B, M)
    if not machine.vnni and machine.engine != "qnnpack":
        seen, w = codes, weight.int_repr().T[None]  # (1, B, K), (1, K, M)
        if machine.engine == "onednn" and not machine.avx512:
            seen, w = even_halves(seen, 2), even_halves(w, 1)
        acc = to_int32(acc) - saturation_loss(seen, w)
    parameters = real_bias, x.q_scale(), scales_of(machine, weight), scale, zero_point
    out = requantize.together(requantize_of(machine, weight, codes.shape[1]), *parameters, relu=relu)(acc)
    return QTensor.of_new(out.reshape(*rows, weight.shape[0]), scale, zero_point, "quint8")


def even_halves(a: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """a with a zero between its halves along an axis of 257 to 767 features, where the first half is odd.

    oneDNN's kernel for AVX2 sums halves of so many features one after the other, and pairs neighbours within each.
    Source: oneDNN ``gemm_driver.cpp`` get_k_padd.
    """
    half = (a.shape[axis] + 1) // 2
    return np.insert(a, half, 0, axis) if 256 < a.shape[axis] < 768 and half % 2 else a


def _factor(weight: QTensor, largest: int) -> Factor:
    return factor(centered_weight(weight).T[None], largest)  # (1, K, M)


def requantize_of(machine: Machine, weight: QTensor, rows: int) -> Callable[..., npt.NDArray[np.uint8]]:
    """The function of ``qlearn.layers.requantize`` that a linear layer takes for so many rows of x."""
    if machine.engine == "onednn":
        if machine.has(ONEDNN_SCALES_IN_ONE):
            return requantize.onednn_2
        if machine.avx512:
            if machine.has(ONEDNN_DIVIDES):
                return requantize.onednn_divided
            outputs, features = weight.shape
            tiles = machine.amx and amx.takes_linear(rows, features, outputs)
            together = tiles or machine.has(ONEDNN_SCALES_TOGETHER)
            return requantize.onednn_gemm if together else requantize.onednn_vnni
        return requantize.onednn_avx2
    return requantize.qnnpack if machine.engine == "qnnpack" else requantize.fbgemm


def scales_of(machine: Machine, weight: QTensor) -> npt.NDArray[np.floating[Any]]:
    """The weight's scales as a linear layer's last steps take them."""
    scales = w_scales(weight)
    inverted = machine.engine == "onednn" and not machine.has(ONEDNN_SCALES_IN_ONE)
    return requantize.onednn_linear_scale(scales) if inverted else scales


# Checks and parameters, shared with the convolution


def check_x(x: QTensor) -> None:
    """Refuse an input that is not quint8 per tensor."""
    check_per_tensor("x", x)
    if x.dtype != "quint8":
        raise ValueError(f"x must be quint8, got {x.dtype}")


def check_weight(weight: QTensor) -> None:
    """Refuse a weight that is not qint8, or has its channels along another axis than 0."""
    if not isinstance(weight, QTensor):
        raise TypeError(f"weight must be a QTensor, got {type(weight).__name__}")
    if weight.dtype != "qint8":
        raise ValueError(f"weight must be qint8, got {weight.dtype}")
    if weight.qscheme() == "per_channel_affine" and weight.q_per_channel_axis() != 0:
        raise ValueError(f"weight must be quantized along axis 0, got axis {weight.q_per_channel_axis()}")


def check_bias(bias: Any, channels: int) -> Floats:
    """The bias as float32 of shape (channels,); zeros for None."""
    if bias is None:
        return np.zeros(channels, np.float32)
    array = np.asarray(bias)
    if array.dtype != np.float32:
        raise TypeError(f"bias must be float32 or None, got {array.dtype}; convert it to float32 first")
    if array.shape != (channels,):
        raise ValueError(f"bias must have shape ({channels},), one number for each output channel, got {array.shape}")
    return array


def check_symmetric(weight: QTensor) -> None:
    """Refuse weight zero points other than 0, as oneDNN does."""
    zero_points = w_zero_points(weight)
    if (zero_points != 0).any():
        wrong = int(zero_points[zero_points != 0].flat[0])
        raise ValueError(f"weight must have zero point 0 on the engine onednn, got {wrong}")


def w_scales(weight: QTensor) -> npt.NDArray[np.float64]:
    """Shape () per tensor, (M,) per channel."""
    if weight.qscheme() == "per_tensor_affine":
        return np.array(weight.q_scale())
    return weight.q_per_channel_scales()


def w_zero_points(weight: QTensor) -> npt.NDArray[np.int16]:
    """Shape () per tensor, (M,) per channel."""
    if weight.qscheme() == "per_tensor_affine":
        return np.array(weight.q_zero_point(), np.int16)
    return weight.q_per_channel_zero_points().astype(np.int16)


def centered_weight(weight: QTensor) -> npt.NDArray[np.int16]:
    """w - w_zero_point, shape (M, ...); the difference of two int8 fits int16."""
    zero_points = w_zero_points(weight).reshape(-1, *[1] * (weight.ndim - 1))
    return weight.int_repr().astype(np.int16) - zero_points
