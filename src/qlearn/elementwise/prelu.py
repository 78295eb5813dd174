"""PReLU of a quantized tensor: a slope for each channel, in integers (Chapter 11, MobileNetV2)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor, check_scale, check_zero_point
from qlearn.elementwise.activations import code_of
from qlearn.elementwise.sums_and_products import check_per_tensor, each_pair, multiplier_of_product, requantize
from qlearn.machine.layout import new_strides
from qlearn.machine.machine import Machine

__all__ = ["prelu"]

Codes = npt.NDArray[Any]


def prelu(x: QTensor, weight: QTensor, scale: float, zero_point: int, *, machine: Machine | None = None) -> QTensor:
    """x where x > 0, else x * weight: torch.ops.quantized.prelu (Chapter 11).

    With one the code of 1.0 in weight: c = (max(q, z) - z) * (one - zw) + (min(q, z) - z) * (w - zw) in int32,
    requantized as in ``mul``, on every engine. Where 1.0 has no code in weight, a positive x is multiplied by the
    nearest number that has one. Source: ``qprelu.cpp``; ``QuantizedOpKernels.cpp`` qprelu_out_kernel.

    Args:
        x: a per-tensor QTensor of any dtype and strides, with at least one dimension.
        weight: a per-tensor QTensor of x's dtype, of shape (1,), or (C,) with C = x.shape[1].
        scale: of the result; positive and finite, as float32 too.
        zero_point: of the result; an integer within the dtype.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        A QTensor of x's shape and dtype, channels_last if x is, contiguous otherwise.

    Raises:
        TypeError: x or weight is not a QTensor, machine not a Machine.
        ValueError: x or weight is per channel, their dtypes differ, x has no dimension, weight is of another shape,
            scale or zero_point out of its range.
    """
    machine = Machine.of(machine)
    check_per_tensor("x", x)
    check_per_tensor("weight", weight)
    scale, zero_point = check_scale(scale), check_zero_point(zero_point, x.dtype)
    if x.dtype != weight.dtype:
        raise ValueError(f"weight must have the dtype of x, {x.dtype}, got {weight.dtype}")
    if x.ndim == 0:
        raise ValueError("x must have at least one dimension, got shape ()")
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.shape not in ((1,), (channels,)):
        raise ValueError(f"weight must have shape (1,) or ({channels},), got {weight.shape}")
    axis = [weight.size if i == 1 else 1 for i in range(x.ndim)]
    slopes = QTensor(weight.int_repr().reshape(axis), weight.q_scale(), weight.q_zero_point(), weight.dtype)
    multiplier = multiplier_of_product(x.q_scale(), weight.q_scale(), scale)
    one = code_of(np.float32(1), weight, machine)

    def kernel(path: int, q: Codes, w: Codes) -> Codes:
        c = sloped(q, x.q_zero_point(), w, weight.q_zero_point(), one)
        return requantize(path, machine, c, multiplier, zero_point, x.dtype)

    strides = new_strides(x.int_repr())
    return QTensor.of_new(each_pair(kernel, x, slopes, x.shape, strides, machine), scale, zero_point, x.dtype)


def sloped(q: Codes, z: int, w: Codes, zw: int, one: Any) -> npt.NDArray[np.int32]:
    """(max(q, z) - z) * (one - zw) + (min(q, z) - z) * (w - zw), in int32, which wraps."""
    wide, zero, weight_zero = q.astype(np.int32), np.int32(z), np.int32(zw)
    positive, negative = np.maximum(wide, zero) - zero, np.minimum(wide, zero) - zero
    return np.asarray(positive * (np.int32(one) - weight_zero) + negative * (w.astype(np.int32) - weight_zero))
