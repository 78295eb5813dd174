"""The mean of quantized numbers over any axes (Chapter 11, MobileNetV2).

Three ways, and they need not agree: an integer sum that is divided, qnnpack's average pool, or float32 numbers that are
added in PyTorch's order and quantized anew.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import DTYPES, QTensor, quantize_per_tensor
from qlearn.codes.quantize import in_vectors
from qlearn.codes.rounding import cvtps2dq, saturate
from qlearn.elementwise.shapes import axes_of
from qlearn.elementwise.sums_and_products import check_per_tensor
from qlearn.layers.cascade_sum import cascade_sum
from qlearn.layers.pooling import check_normal_scale, inverse_of_scales
from qlearn.machine.layout import dense_strides, has_strides, laid_out, like_channels_last
from qlearn.machine.machine import Machine

__all__ = ["mean"]

Floats = npt.NDArray[np.float32]


def mean(
    x: QTensor, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, machine: Machine | None = None
) -> QTensor:
    """torch.mean of a quantized tensor, with x's scale and zero point (Chapter 11).

    n is the number of codes in each mean, all in float32:

    - the engine qnnpack, quint8, dim exactly (2, 3) of four: rint(S * m) + zero_point, S the integer sum of
      q - zero_point, m = scale / (scale * n), as in ``avg_pool2d``.
    - x contiguous and dim the last axes: rint(sum(q) / n), the integer sum rounded once. No scale, no zero point.
    - all else: quantize(sum(dequantize(q)) / n), the sum in the order of ``qlearn.layers.cascade_sum``. The threads
      share sums
      of 32,768 terms and more, so their number can change an integer.

    Source: ``ReduceOps.cpp`` mean_out_quantized_cpu, ``QuantizedOpKernels.cpp`` qmean_inner_dim_kernel, QNNPACK
    ``global-average-pooling.c``.

    Args:
        x: a per-tensor QTensor of any dtype and strides.
        dim: an axis or several, each once; None or none of them stand for all.
        keepdim: whether those axes stay, with length 1.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        A contiguous QTensor; one that lies like channels_last if x is contiguous and lies so too (one channel), dim
        names the last axes and keepdim is true.

    Raises:
        TypeError: x is not a QTensor, dim not integers, machine not a Machine.
        ValueError: x is per channel, or empty along dim; dim is out of range or names an axis twice; x lies like
            channels_last and contiguous, with dim the last axes and without keepdim, which PyTorch refuses; on qnnpack,
            a scale that is no normal float32.
    """
    machine = Machine.of(machine)
    check_per_tensor("x", x)
    given = tuple(dim) if isinstance(dim, Sequence) else () if dim is None else (dim,)
    named = axes_of("dim", given, max(x.ndim, 1))
    if len(set(named)) != len(named):
        raise ValueError(f"dim must name an axis once, got {given}")
    dims = tuple(sorted(named)) if named and x.ndim else tuple(range(x.ndim))
    shape = tuple(1 if axis in dims else n for axis, n in enumerate(x.shape))
    out = shape if keepdim else tuple(n for axis, n in enumerate(x.shape) if axis not in dims)
    q, scale, zero_point = x.int_repr(), x.q_scale(), x.q_zero_point()
    n = prod(x.shape[axis] for axis in dims)
    if n == 0:
        raise ValueError(f"x must hold codes along dim, got shape {x.shape}")
    if x.size == 0:
        return QTensor(np.zeros(out, q.dtype), scale, zero_point, x.dtype)
    if machine.engine == "qnnpack" and x.dtype == "quint8" and x.ndim == 4 and given == (2, 3):
        check_normal_scale(x)
        s = (q.astype(np.int64) - zero_point).sum(dims).astype(np.float32)
        codes = in_vectors(s, inverse_of_scales(scale, n), zero_point)
        return QTensor(np.ascontiguousarray(saturate(codes, q.dtype)).reshape(out), scale, zero_point, x.dtype)
    if has_strides(q, dense_strides(x.shape)) and dims == tuple(range(x.ndim - len(dims), x.ndim)):
        last = like_channels_last(q)
        if last and not keepdim:
            raise ValueError(f"x must not lie like channels_last here, got shape {x.shape}, strides {x.strides}")
        codes = cvtps2dq(divided(q.sum(dims, dtype=np.int64).astype(np.float32), n))
        strides = dense_strides(out, channels_last=last)
        return QTensor(laid_out(codes.astype(DTYPES[x.dtype]).reshape(out), strides), scale, zero_point, x.dtype)
    machine.check_bodies()
    real = divided(cascade_sum(x.dequantize(), dims, machine.threads), n)
    return quantize_per_tensor(real.reshape(out), scale, zero_point, x.dtype, machine=machine)


def divided(s: Floats, n: int) -> Floats:
    """s / float32(n): a division, where the pools multiply by an inverse."""
    return np.asarray(s / np.float32(n))
