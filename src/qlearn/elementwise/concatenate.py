"""Concatenation of quantized tensors, each with parameters of its own (Chapter 5).

Two ways, chosen by the layout: channels_last tensors along their channels go through one kernel, in eights of channels;
all else is dequantized, concatenated and quantized anew.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor, check_scale, check_zero_point, quantize_per_tensor
from qlearn.codes.rounding import reciprocal, saturate
from qlearn.elementwise.sums_and_products import check_per_tensor, steps
from qlearn.machine.layout import dense_strides, is_channels_last, laid_out, like_channels_last
from qlearn.machine.machine import BODY, TAIL, Machine

__all__ = ["cat"]

Codes = npt.NDArray[Any]
EIGHT = 8  # channels: one vector of float32


def cat(
    tensors: Sequence[QTensor], scale: float, zero_point: int, dim: int, *, machine: Machine | None = None
) -> QTensor:
    """Concatenate along an axis as torch.ops.quantized.cat and FloatFunctional.cat do (Chapter 5).

    If dim is 1 and all tensors are channels_last with four dimensions: a tensor that has the result's scale and zero
    point is copied. Of any other, with C channels, the first C // 8 * 8 are computed like ``add``'s vector body and the
    rest like its tail, with the one dequantized input in the place of the sum x. On AVX2 and AVX512 the inverse in the
    body is float32(1.0 / scale), divided in float64.

    All else, dim = -3 included, is ``quantize_per_tensor`` of the concatenated ``dequantize()``. Source:
    ``TensorShape.cpp`` quantized_cat_impl, ``QuantizedOpKernels.cpp`` qcat_nhwc_kernel.

    Args:
        tensors: at least one QTensor, of one dtype, per tensor; their shapes differ along dim alone.
        scale: of the result; positive and finite, as float32 too.
        zero_point: of the result; an integer within the dtype.
        dim: the axis, -ndim <= dim < ndim.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        A QTensor, channels_last if all tensors are, contiguous otherwise.

    Raises:
        TypeError: tensors is not a sequence of QTensors, dim not an integer, machine not a Machine.
        ValueError: no tensors, no dimensions, shapes or dtypes that do not fit, a tensor per channel, dim, scale or
            zero_point out of its range.
    """
    machine = Machine.of(machine)
    tensors = _check(tensors, dim)
    dtype = tensors[0].dtype
    scale, zero_point = check_scale(scale), check_zero_point(zero_point, dtype)
    if dim == 1 and all(is_channels_last(t.int_repr()) for t in tensors):
        codes = np.concatenate([_channels(t, scale, zero_point, machine) for t in tensors], axis=1)
        return QTensor(laid_out(codes, dense_strides(codes.shape, channels_last=True)), scale, zero_point, dtype)
    full = [t for t in tensors if t.shape != (0,)] or tensors[:1]  # PyTorch leaves out tensors of shape (0,)
    real = np.concatenate([t.dequantize() for t in full], axis=dim)
    last = all(like_channels_last(t.int_repr()) for t in tensors)
    real = laid_out(real, dense_strides(real.shape, channels_last=last))
    return quantize_per_tensor(real, scale, zero_point, dtype, machine=machine)


def _channels(t: QTensor, scale: float, zero_point: int, machine: Machine) -> Codes:
    """One channels_last tensor's part of the result, (N, C, H, W)."""
    machine.check_bodies()
    q = t.int_repr()
    if (t.q_scale(), t.q_zero_point()) == (scale, zero_point):
        return q
    eights = q.shape[1] // EIGHT * EIGHT
    parts = [(BODY, q[:, :eights]), (TAIL, q[:, eights:])]
    return np.concatenate([_on_path(path, t, part, scale, zero_point, machine) for path, part in parts], axis=1)


def _on_path(path: int, t: QTensor, q: Codes, scale: float, zero_point: int, machine: Machine) -> Codes:
    """Codes q of t, in the result's scale and zero point."""
    dequantize, quantize = steps(t.dtype, machine, path)
    vectors = path == BODY and machine.capability != "DEFAULT" and t.dtype != "qint32"
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        inverse = inverse_in_double(scale) if vectors else reciprocal(scale)
        x = dequantize(q, np.float32(t.q_scale()), t.q_zero_point())
        return saturate(quantize(x, inverse, zero_point), q.dtype)


def inverse_in_double(scale: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """float32(1.0 / scale), divided in float64; ``reciprocal`` rounds the scale to float32 first."""
    return np.asarray(np.float64(1.0) / np.asarray(scale, np.float64), dtype=np.float32)


def _check(tensors: Any, dim: Any) -> list[QTensor]:
    if not isinstance(tensors, Sequence):
        raise TypeError(f"tensors must be a sequence of QTensors, got {type(tensors).__name__}")
    if not tensors:
        raise ValueError("tensors must not be empty")
    first = tensors[0]
    for i, t in enumerate(tensors):
        check_per_tensor(f"tensors[{i}]", t)
        if t.ndim == 0:
            raise ValueError(f"tensors[{i}] must have at least one dimension, got none")
        if t.dtype != first.dtype:
            raise ValueError(f"tensors must have the same dtype, got {first.dtype} and {t.dtype}")
    full = [t for t in tensors if t.shape != (0,)] or [first]
    ndim = full[0].ndim
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer):
        raise TypeError(f"dim must be an integer, got {dim!r}")
    if not -ndim <= dim < ndim:
        raise ValueError(f"dim must be in [{-ndim}, {ndim}), got {dim}")
    for t in full:
        if t.ndim != ndim or any(n != m for i, (n, m) in enumerate(zip(t.shape, full[0].shape, strict=False))
                                 if i != dim % ndim):  # fmt: skip
            raise ValueError(f"tensors must have shapes that differ along dim {dim} alone, got "
                             f"{full[0].shape} and {t.shape}")  # fmt: skip
    return list(tensors)
