"""A quantized tensor with one real number, and ReLU: scale and zero point do the work (Chapter 5).

Most of these operators leave the codes as they are, or negate them, and change what the codes stand for. The same
integers on every engine, capability and number of threads, with one exception: qint32 that ``add_scalar`` requantizes
out of its range.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import DTYPES, QTensor, check_scale, check_zero_point
from qlearn.codes.rounding import reciprocal
from qlearn.elementwise.sums_and_products import BLOCKS, check_per_tensor, requantize
from qlearn.machine.layout import laid_out, new_strides, strides_of
from qlearn.machine.machine import BODY, TAIL, Machine

__all__ = ["add_scalar", "add_scalar_relu", "mul_scalar", "mul_scalar_relu", "relu"]

Codes = npt.NDArray[Any]


def add_scalar(a: QTensor, c: float, *, machine: Machine | None = None) -> QTensor:
    """Add a real number as torch.ops.quantized.add_scalar and FloatFunctional.add_scalar do (Chapter 5).

    With k = rint(c / scale) in float64, the result's zero point is z - k and the codes stay, if z - k is within the
    dtype [low, high]. If it is below, the zero point is low and the scale (high - (z - k)) / (high - low) * scale; if
    above, high and ((z - k) - low) / (high - low) * scale, in float64. The codes are then requantized, q - z + k in
    int32 times the float32 multiplier float32(scale) * (1 / float32(new scale)), as in ``mul``. Source:
    ``BinaryOps.cpp`` _add_scalar_out, ``QuantizedOpKernels.cpp`` qadd_scalar_kernel.

    Args:
        a: a per-tensor QTensor of any dtype and strides.
        c: a finite real number.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        A QTensor of a's shape and dtype, channels_last if a is, contiguous otherwise.

    Raises:
        TypeError: a is not a QTensor, c not a real number, machine not a Machine.
        ValueError: a is per channel, c is not finite, or the codes are to be requantized and k is not within int32.
    """
    return _add_scalar(a, c, machine, relu=False)


def add_scalar_relu(a: QTensor, c: float, *, machine: Machine | None = None) -> QTensor:
    """``add_scalar``, then max(code, zero point): torch.ops.quantized.add_scalar_relu (Chapter 5).

    Args, returns, raises: as ``add_scalar``.
    """
    return _add_scalar(a, c, machine, relu=True)


def mul_scalar(a: QTensor, c: float, *, machine: Machine | None = None) -> QTensor:
    """Multiply by a real number as torch.ops.quantized.mul_scalar and FloatFunctional.mul_scalar do (Chapter 5).

    The scale becomes abs(c) * scale in float64. c > 0 leaves the codes; c < 0 turns them and the zero point around in
    the dtype [low, high], q -> high + low - q; c = 0 gives codes, zero point 0 and scale 1. Source: ``qmul.cpp``
    _mul_scalar_out.

    Args, returns: as ``add_scalar``.

    Raises:
        TypeError: a is not a QTensor, c not a real number, machine not a Machine.
        ValueError: a is per channel, c is not finite, or abs(c) * scale is not positive and finite as float32.
    """
    return _mul_scalar(a, c, machine, relu=False)


def mul_scalar_relu(a: QTensor, c: float, *, machine: Machine | None = None) -> QTensor:
    """``mul_scalar``, then max(code, zero point): torch.ops.quantized.mul_scalar_relu (Chapter 5).

    Args, returns, raises: as ``mul_scalar``.
    """
    return _mul_scalar(a, c, machine, relu=True)


def relu(a: QTensor, *, machine: Machine | None = None) -> QTensor:
    """max(code, zero point), with a's scale and zero point: torch.relu on a quantized tensor (Chapter 5).

    Source: ``qrelu.cpp`` relu_quantized_cpu, qnnpack_relu.

    Args:
        a: a per-tensor QTensor of any dtype and strides.
        machine: whose arithmetic; None is ``Machine.default()``. It changes only what is refused.

    Returns:
        A QTensor of a's shape and dtype, channels_last if a is, contiguous otherwise.

    Raises:
        TypeError: a is not a QTensor, machine not a Machine.
        ValueError: a is quantized per channel; on the engine qnnpack, a quint8 tensor without dimensions, or with an
            empty axis after the first.
    """
    check_per_tensor("a", a)
    if Machine.of(machine).engine == "qnnpack" and a.dtype == "quint8" and (a.ndim == 0 or 0 in a.shape[1:]):
        raise ValueError(f"a must have dimensions, and none empty after the first, on qnnpack, got shape {a.shape}")
    return _like(a, a.int_repr(), a.q_scale(), a.q_zero_point(), relu=True)


def _add_scalar(a: QTensor, c: float, machine: Machine | None, *, relu: bool) -> QTensor:
    machine, c = Machine.of(machine), _check(a, c)
    low, high = (int(edge) for edge in (np.iinfo(DTYPES[a.dtype]).min, np.iinfo(DTYPES[a.dtype]).max))
    scale, z = a.q_scale(), a.q_zero_point()
    k = round(c / scale)  # float64, ties to even
    if low <= z - k <= high:
        return _like(a, a.int_repr(), scale, z - k, relu=relu)
    if not -(2**31) <= k < 2**31:
        raise ValueError(f"c / a.q_scale() must round to an int32, got {c} / {scale}")
    reach = high - (z - k) if z - k < low else (z - k) - low
    new_scale, new_zero_point = reach / (high - low) * scale, low if z - k < low else high
    codes = _requantized(a, k, new_scale, new_zero_point, machine)
    return _like(a, codes, new_scale, new_zero_point, relu=relu)


def _requantized(a: QTensor, k: int, scale: float, zero_point: int, machine: Machine) -> Codes:
    """The codes of (a.scale * (q - z + k)) in another scale and zero point, on the path that each lies on."""
    q, strides = a.int_repr(), new_strides(a.int_repr())
    multiplier = multiplier_of_scalar(a.q_scale(), scale)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        c = np.asarray(q.astype(np.int32) - np.int32(a.q_zero_point()) + np.int32(k))  # int32, wraps
        body, tail = (requantize(path, machine, c, multiplier, zero_point, a.dtype) for path in (BODY, TAIL))
    paths = machine.path_map(a.shape, strides, strides_of(q), block=BLOCKS[a.dtype])
    return np.where(paths == BODY, body, tail)


def multiplier_of_scalar(a_scale: float, scale: float) -> np.float32:
    """a_scale * (1 / scale), each scale and each step rounded to float32."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.float32(np.float32(a_scale) * reciprocal(scale))


def _mul_scalar(a: QTensor, c: float, machine: Machine | None, *, relu: bool) -> QTensor:
    Machine.of(machine)
    c = _check(a, c)
    if c == 0:
        return _like(a, np.zeros_like(a.int_repr()), 1.0, 0, relu=relu)
    scale, zero_point, codes = abs(c) * a.q_scale(), a.q_zero_point(), a.int_repr()
    with np.errstate(over="ignore", under="ignore"):
        narrow = np.float32(scale)
    if not 0 < narrow < np.inf:
        raise ValueError(f"abs(c) * a.q_scale() must be positive and finite as float32, got {scale}")
    if c < 0:
        info = np.iinfo(codes.dtype)
        zero_point = int(info.max) + int(info.min) - zero_point
        codes = ~codes  # high + low - q, in two's complement
    return _like(a, codes, scale, zero_point, relu=relu)


def _like(a: QTensor, codes: Codes, scale: float, zero_point: int, *, relu: bool) -> QTensor:
    """Codes in a new tensor that is laid out like a, after a ReLU or not."""
    if relu:
        low, high = (codes.dtype.type(edge) for edge in (zero_point, np.iinfo(codes.dtype).max))
        codes = codes.clip(low, high)  # quicker than the maximum of the codes and one number
    codes, strides = np.asarray(codes), new_strides(a.int_repr())
    if codes is a.int_repr() or strides_of(codes) != strides:
        codes = laid_out(codes, strides)
    return QTensor.of_new(codes, check_scale(scale), check_zero_point(zero_point, a.dtype), a.dtype)


def _check(a: QTensor, c: Any) -> float:
    check_per_tensor("a", a)
    array = np.asarray(c)
    if array.ndim != 0 or array.dtype.kind not in "fiu":
        raise TypeError(f"c must be a real number, got {c!r}")
    if not np.isfinite(array):
        raise ValueError(f"c must be finite, got {c!r}")
    return float(array)
