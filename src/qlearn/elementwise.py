"""FloatFunctional.add on quantized tensors (Chapter 4, Adding).

A kernel dequantizes both inputs, adds them in float32, and quantizes the sum. How it dequantizes and quantizes depends
on the capability and on where the element lies (``Machine.paths``): each way is one small function here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.affine import DTYPES, QTensor, check_scale, check_zero_point
from qlearn.layout import from_memory_order, has_strides, in_memory_order, new_strides
from qlearn.machine import Machine
from qlearn.rounding import add_then_round, fma, fma_then_round, reciprocal, round_then_add, saturate

__all__ = ["add"]

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[Any]


def add(a: QTensor, b: QTensor, scale: float, zero_point: int, *, machine: Machine | None = None) -> QTensor:
    """Add two quantized tensors as torch.ops.quantized.add and FloatFunctional.add do (Chapter 4).

    With r = float32(1) / float32(scale), x the float32 sum of both dequantized inputs, all in float32:

    - AVX2, AVX512, vector body: dequantize fma(s, q, s * -z); quantize rint(x * r) + zero_point.
    - DEFAULT, vector body: dequantize (q - z) * s; quantize rint(fma(x, r, zero_point)).
    - scalar tail: dequantize (q - z) * s; quantize rint(x * r + zero_point), rounded after each step.

    Then the result is clamped to the dtype. Source: ``QuantizedOpKernels.cpp`` qadd_kernel (compiled for DEFAULT and
    AVX2; AVX512 runs the AVX2 one), ``vec256_qint.h``, ``AffineQuantizerBase.cpp``.

    Args:
        a, b: per-tensor QTensors of the same shape, dtype ("quint8" or "qint8") and memory format, dense.
        scale: of the result; positive and finite, as float32 too.
        zero_point: of the result; an integer within the dtype.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        A QTensor of the inputs' shape, dtype and memory format.

    Raises:
        TypeError: a or b is not a QTensor, machine not a Machine.
        ValueError: shapes or dtypes differ, an input is per channel, scale or zero_point is out of its range.
        NotImplementedError: the engine qnnpack, qint32, inputs that are neither contiguous nor channels_last, or of
            different memory formats.
    """
    machine = Machine.default() if machine is None else machine
    _check_inputs(a, b, machine)
    scale, zero_point = check_scale(scale), check_zero_point(zero_point, a.dtype)
    inverse = reciprocal(scale)
    a_codes, b_codes = in_memory_order(a.int_repr()), in_memory_order(b.int_repr())  # (n,), (n,)

    out = np.empty_like(a_codes)  # (n,)
    for start, stop, path in machine.paths(out.size):
        dequantize, quantize = _steps(machine.capability, path)
        a_real, b_real = _of_each_code(dequantize, a), _of_each_code(dequantize, b)  # (256,), (256,)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            x = a_real[a_codes[start:stop].view(np.uint8)] + b_real[b_codes[start:stop].view(np.uint8)]
            out[start:stop] = saturate(quantize(x, inverse, zero_point), out.dtype)
    return QTensor(from_memory_order(out, like=a.int_repr()), scale, zero_point, a.dtype)


def dequantize_fused(q: Codes, scale: np.float32, zero_point: int) -> Floats:
    """fma(scale, q, scale * -zero_point): the product is rounded first, then the fused sum (AVX2 body)."""
    return fma(scale, q, scale * np.float32(-zero_point))


def dequantize_subtract(q: Codes, scale: np.float32, zero_point: int) -> Floats:
    """float32(q - zero_point) * scale: the difference is exact, the product is rounded once (DEFAULT, and tails)."""
    return np.asarray((q.astype(np.int32) - zero_point).astype(np.float32) * scale)


def quantize_round_then_add(x: Floats, inverse: Floats, zero_point: int) -> Codes:
    """rint(x * inverse) + zero_point, to be clamped (AVX2 body)."""
    return round_then_add(x * inverse, zero_point)


def quantize_add_then_round(x: Floats, inverse: Floats, zero_point: int) -> Codes:
    """rint(x * inverse + zero_point), the product rounded before the sum, to be clamped (tails)."""
    return add_then_round(x * inverse, zero_point)


Dequantize = Callable[[Codes, np.float32, int], Floats]
Quantize = Callable[[Floats, Floats, int], Codes]


def _steps(capability: str, path: str) -> tuple[Dequantize, Quantize]:
    if path == "tail":
        return dequantize_subtract, quantize_add_then_round
    if capability == "DEFAULT":
        return dequantize_subtract, fma_then_round
    return dequantize_fused, quantize_round_then_add


def _of_each_code(dequantize: Dequantize, t: QTensor) -> Floats:
    """The real number of each 8-bit code, shape (256,), indexed by the code's byte."""
    codes = np.arange(256, dtype=np.uint8).view(DTYPES[t.dtype])
    with np.errstate(over="ignore"):
        return dequantize(codes, np.float32(t.q_scale()), t.q_zero_point())


def _check_inputs(a: QTensor, b: QTensor, machine: Machine) -> None:
    for name, t in (("a", a), ("b", b)):
        if not isinstance(t, QTensor):
            raise TypeError(f"{name} must be a QTensor, got {type(t).__name__}")
        if t.qscheme() != "per_tensor_affine":
            raise ValueError(f"{name} must be quantized per tensor, got {t.qscheme()}")
        if t.dtype == "qint32":
            raise NotImplementedError(f"{name} must be quint8 or qint8, got qint32")
    if a.dtype != b.dtype:
        raise ValueError(f"a and b must have the same dtype, got {a.dtype} and {b.dtype}")
    if a.shape != b.shape:
        raise ValueError(f"a and b must have the same shape, got {a.shape} and {b.shape}")
    if not isinstance(machine, Machine):
        raise TypeError(f"machine must be a Machine or None, got {type(machine).__name__}")
    if machine.engine == "qnnpack":
        raise NotImplementedError("add is not there for the engine 'qnnpack' yet")
    strides = new_strides(a.int_repr())
    if not (has_strides(a.int_repr(), strides) and has_strides(b.int_repr(), strides)):
        raise NotImplementedError(
            f"a and b must both be contiguous or both channels_last, got strides {a.strides} and {b.strides}"
        )
