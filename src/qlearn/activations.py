"""Activations of one quantized tensor (Chapter 11, MobileNetV2).

A kernel dequantizes each code, computes in float32, and quantizes, with the steps of ``add``; of 8-bit codes there are
256, so each path of a kernel is one table. The engine qnnpack has tables of its own for quint8.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.affine import DTYPES, QTensor, check_scale, check_zero_point
from qlearn.elementwise import BLOCKS, check_per_tensor, quantize_add_then_round, steps
from qlearn.layout import dense_strides, in_memory_order, laid_out, like_channels_last, new_strides
from qlearn.machine import BODY, TAIL, Machine
from qlearn.rounding import reciprocal, round_half_even, saturate

__all__ = ["clamp", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "relu6"]

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[Any]
Function = Callable[[Floats], Floats]

HARDSIGMOID = {"quint8": (2.0**-8, 0), "qint8": (2.0**-8, -128), "qint32": (2.0**-32, 0)}
"""Scale and zero point of hardsigmoid, by dtype: of numbers from 0 to 1."""


def relu6(x: QTensor, *, machine: Machine | None = None) -> QTensor:
    """``clamp`` between 0 and 6: torch.nn.functional.relu6 and torch.ops.quantized.relu6 (Chapter 11).

    Args, returns, raises: as ``clamp``. Source: ``qrelu.cpp`` quantized_relu6, which calls hardtanh.
    """
    return clamp(x, 0.0, 6.0, machine=machine)


def hardtanh(x: QTensor, min_val: float = -1.0, max_val: float = 1.0, *, machine: Machine | None = None) -> QTensor:
    """``clamp`` between min_val and max_val: torch.nn.functional.hardtanh (Chapter 11).

    Args, returns, raises: as ``clamp``. Source: ``qclamp.cpp`` hardtanh_quantized_cpu.
    """
    return clamp(x, min_val, max_val, machine=machine)


def clamp(x: QTensor, min: float | None = None, max: float | None = None, *, machine: Machine | None = None) -> QTensor:
    """min(max(code, code of min), code of max): torch.clamp and torch.ops.quantized.clamp (Chapter 11).

    A bound becomes a code as in the tails of ``add``: clamp(rint(bound * (1 / scale) + zero_point)), in float32. Where
    the bounds' codes are in the wrong order the second one wins. Source: ``qclamp.cpp`` quantized_clamp_impl,
    qnnpack_clamp; ``QuantizedOpKernels.cpp`` qclamp_kernel.

    The engine qnnpack reads a channels_last quint8 tensor in the order of its memory and writes a contiguous one
    (PyTorch 2.13), so that the elements change their places. This function does the same.

    Args:
        x: a per-tensor QTensor of any dtype and strides.
        min, max: real numbers, infinite ones too; None is no bound.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        A QTensor of x's shape, dtype, scale and zero point, channels_last if x is, contiguous otherwise.

    Raises:
        TypeError: x is not a QTensor, a bound is not a real number, machine is not a Machine.
        ValueError: x is per channel, a bound is NaN or finite and beyond float32, or there is none; on the engine
            qnnpack, one bound alone, and for quint8 bounds whose codes are in the wrong order, and an x without
            dimensions or with an empty axis after the first.
    """
    machine = Machine.of(machine)
    check_per_tensor("x", x)
    low, high = (None if v is None else _float32(name, v) for name, v in (("min", min), ("max", max)))
    if low is None and high is None:
        raise ValueError("min and max must not both be None")
    scale, zero_point, codes = x.q_scale(), x.q_zero_point(), x.int_repr()
    if machine.engine == "qnnpack":
        if low is None or high is None:
            raise ValueError(f"min and max must both be given on qnnpack, got {min} and {max}")
        if x.dtype == "quint8":
            return _clamp_of_qnnpack(x, low, high)
    if low is not None:
        codes = np.maximum(codes, code_of(low, scale, zero_point, x.dtype))
    if high is not None:
        codes = np.minimum(codes, code_of(high, scale, zero_point, x.dtype))
    return QTensor(laid_out(codes, new_strides(x.int_repr())), scale, zero_point, x.dtype)


def hardswish(x: QTensor, scale: float, zero_point: int, *, machine: Machine | None = None) -> QTensor:
    """x * min(max(x + 3, 0), 6) / 6, from left to right in float32: torch.ops.quantized.hardswish (Chapter 11).

    Dequantized and quantized as in ``add``, with one difference: in the vector body of AVX2 and AVX512, 8-bit codes are
    quantized with float32(1 / scale), divided in float64. The engine qnnpack computes quint8 as a tail does, each
    number clamped to [0, 255] before it is rounded. Source: ``qhardswish.cpp``; ``QuantizedOpKernels.cpp``
    qhardswish_kernel; QNNPACK ``hardswish.c``.

    Args:
        x: a per-tensor QTensor of any dtype and strides.
        scale: of the result; positive and finite, as float32 too.
        zero_point: of the result; an integer within the dtype.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        A QTensor of x's shape and dtype, channels_last if x is, contiguous otherwise.

    Raises:
        TypeError: x is not a QTensor, machine not a Machine.
        ValueError: x is per channel, scale or zero_point out of its range; on the engine qnnpack, for quint8, an x
            without dimensions or elements, and scales that are subnormal as float32.
    """
    machine, scale, zero_point = _check(x, scale, zero_point, machine)
    if machine.engine == "qnnpack" and x.dtype == "quint8":
        _check_qnnpack(x, "scale", scale)
        return _table_of_qnnpack(x, real_hardswish, scale, zero_point)
    return _each(x, lambda path: real_hardswish, scale, zero_point, machine)


def hardsigmoid(x: QTensor, *, machine: Machine | None = None) -> QTensor:
    """min(max(x + 3, 0), 6) / 6 in float32: torch.nn.functional.hardsigmoid (Chapter 11).

    The result's scale is 1/256 and its zero point 0 for quint8, -128 for qint8; 1/2**32 and 0 for qint32. Dequantized
    and quantized as in ``add``; by the engine qnnpack, quint8 as in ``hardswish``. Source: ``qhardsigmoid.cpp``;
    ``QuantizedOpKernels.cpp`` qhardsigmoid_kernel; QNNPACK ``hardsigmoid.c``.

    Args, returns, raises: as ``hardswish``, without scale and zero_point.
    """
    machine = Machine.of(machine)
    check_per_tensor("x", x)
    scale, zero_point = HARDSIGMOID[x.dtype]
    if machine.engine == "qnnpack" and x.dtype == "quint8":
        _check_qnnpack(x, "scale", scale)
        return _table_of_qnnpack(x, real_hardsigmoid, scale, zero_point)
    return _each(x, lambda path: real_hardsigmoid, scale, zero_point, machine)


def leaky_relu(
    x: QTensor,
    negative_slope: float = 0.01,
    scale: float | None = None,
    zero_point: int | None = None,
    *,
    machine: Machine | None = None,
) -> QTensor:
    """x where x > 0, else x * negative_slope, in float32: torch.ops.quantized.leaky_relu (Chapter 11).

    Dequantized and quantized as in ``add``, on every engine. Without scale and zero_point the result has those of x, as
    of torch.nn.functional.leaky_relu. Source: ``qrelu.cpp`` QLeakyRelu; ``QuantizedOpKernels.cpp``
    leaky_qrelu_out_kernel.

    Args:
        x: a per-tensor QTensor of any dtype and strides.
        negative_slope: a finite number, as float32 too.
        scale, zero_point: of the result, as of ``hardswish``; both or none.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        A QTensor of x's shape and dtype, channels_last if x is, contiguous otherwise.

    Raises:
        TypeError: x is not a QTensor, negative_slope not a real number, machine not a Machine.
        ValueError: x is per channel, scale or zero_point out of its range or one of them alone, negative_slope not
            finite.
    """
    if (scale is None) != (zero_point is None):
        raise ValueError(f"scale and zero_point must both be given or both be None, got {scale} and {zero_point}")
    check_per_tensor("x", x)
    scale, zero_point = (x.q_scale(), x.q_zero_point()) if scale is None else (scale, zero_point)
    machine, scale, zero_point = _check(x, scale, zero_point, machine)
    slope = _float32("negative_slope", negative_slope)
    if not np.isfinite(slope):
        raise ValueError(f"negative_slope must be finite, got {negative_slope}")
    return _each(
        x,
        lambda path: lambda real: np.where(real > 0, real, real * slope),
        scale,
        zero_point,
        machine,
        inverse=reciprocal(scale),
        copied=True,
    )


# The real functions, float32 step by step


def real_hardsigmoid(x: Floats) -> Floats:
    """min(max(x + 3, 0), 6) / 6."""
    return np.asarray(np.minimum(np.maximum(x + np.float32(3), np.float32(0)), np.float32(6)) / np.float32(6))


def real_hardswish(x: Floats) -> Floats:
    """(x * min(max(x + 3, 0), 6)) / 6."""
    return np.asarray(x * np.minimum(np.maximum(x + np.float32(3), np.float32(0)), np.float32(6)) / np.float32(6))


# The kernels


def code_of(real: np.float32, scale: float, zero_point: int, dtype: str) -> Any:
    """The code of one real number, as in the tails of ``add``."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        rounded = quantize_add_then_round(np.asarray(real), reciprocal(scale), zero_point)
    return saturate(rounded, DTYPES[dtype])


def inverse_by_double(scale: float) -> Floats:
    """float32(1 / scale), the quotient in float64."""
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / scale).astype(np.float32)


def _each(
    x: QTensor,
    function: Callable[[int], Function],
    scale: float,
    zero_point: int,
    machine: Machine,
    *,
    inverse: Floats | None = None,
    strides: Sequence[int] | None = None,
    copied: bool = False,
) -> QTensor:
    """Dequantize, compute function(path) and quantize each element on the path that it lies on.

    ``inverse`` of the scale is what the vector body of AVX2 multiplies 8-bit codes by, ``inverse_by_double`` as a rule;
    ``strides`` are the result's; ``copied`` says that the kernel reads a dense copy of x.
    """
    codes = x.int_repr()
    strides = new_strides(codes) if strides is None else strides
    vector_inverse = inverse_by_double(scale) if inverse is None else inverse

    def kernel(path: int, q: Codes) -> Codes:
        dequantize, quantize = steps(x.dtype, machine.capability, path)
        real = function(path)(dequantize(q, np.float32(x.q_scale()), x.q_zero_point()))
        in_vectors = path == BODY and machine.capability != "DEFAULT" and x.dtype != "qint32"
        return saturate(quantize(real, vector_inverse if in_vectors else reciprocal(scale), zero_point), q.dtype)

    out = laid_out(np.empty(x.shape, codes.dtype), strides)
    paths = machine.path_map(x.shape, strides, strides if copied else x.strides, block=BLOCKS[x.dtype])
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for path in (BODY, TAIL):
            here = paths == path
            out[here] = _on_path(kernel, path, codes[here])
    return QTensor(out, scale, zero_point, x.dtype)


def _on_path(kernel: Callable[[int, Codes], Codes], path: int, q: Codes) -> Codes:
    """kernel(path, q); of 8-bit codes looked up in a table of 256."""
    if q.itemsize > 1:
        return kernel(path, q)
    return kernel(path, np.arange(256, dtype=np.uint8).view(q.dtype))[q.view(np.uint8)]


# The engine qnnpack, quint8


def _table_of_qnnpack(x: QTensor, function: Function, scale: float, zero_point: int) -> QTensor:
    """rint(clamp(function(x) * (1 / scale) + zero_point)), each step in float32, from a table of all codes."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        real = np.float32(x.q_scale()) * (np.arange(256) - x.q_zero_point()).astype(np.float32)
        scaled = reciprocal(scale) * function(real) + np.float32(zero_point)
        table = saturate(round_half_even(np.clip(scaled, np.float32(0), np.float32(255))), np.uint8)
    codes = x.int_repr()
    return QTensor(laid_out(table[codes], new_strides(codes)), scale, zero_point, "quint8")


def _clamp_of_qnnpack(x: QTensor, low: np.float32, high: np.float32) -> QTensor:
    """The elements in their order in memory, clamped, as a contiguous tensor."""
    scale, zero_point, codes = x.q_scale(), x.q_zero_point(), x.int_repr()
    least, most = (code_of(bound, scale, zero_point, "quint8") for bound in (low, high))
    if least > most:
        raise ValueError(f"min must not have a larger code than max on qnnpack, got codes {least} and {most}")
    _check_axes(x)
    if like_channels_last(codes):
        codes = in_memory_order(laid_out(codes, new_strides(codes))).reshape(x.shape)
    return QTensor(laid_out(np.clip(codes, least, most), dense_strides(x.shape)), scale, zero_point, "quint8")


def _check_qnnpack(x: QTensor, name: str, scale: float) -> None:
    """Refuse what its tables refuse: see ``hardswish``."""
    if x.size == 0:
        raise ValueError(f"x must not be empty on qnnpack, got shape {x.shape}")
    _check_axes(x)
    tiny = np.finfo(np.float32).tiny
    for what, value in (("the scale of x", x.q_scale()), (name, scale)):
        if np.float32(value) < tiny:
            raise ValueError(f"{what} must be at least {tiny} as float32 on qnnpack, got {value}")


def _check_axes(x: QTensor) -> None:
    if x.ndim == 0 or 0 in x.shape[1:]:
        raise ValueError(f"x must have dimensions, and none empty after the first, on qnnpack, got shape {x.shape}")


# Arguments


def _check(x: QTensor, scale: Any, zero_point: Any, machine: Machine | None) -> tuple[Machine, float, int]:
    check_per_tensor("x", x)
    return Machine.of(machine), check_scale(scale), check_zero_point(zero_point, x.dtype)


def _float32(name: str, value: Any) -> np.float32:
    """A real number, infinite or within float32, rounded to it; or an error by the argument's name."""
    array = np.asarray(value)
    if array.ndim != 0 or array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be a real number, got {value!r}")
    with np.errstate(over="ignore"):
        narrow = np.float32(array)
    if np.isnan(narrow) or (np.isinf(narrow) and np.isfinite(array)):
        raise ValueError(f"{name} must be a number within float32, got {value!r}")
    return narrow
