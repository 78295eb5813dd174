"""Activations of one quantized tensor (Chapter 11, MobileNetV2).

A kernel dequantizes each code, computes in float32, and quantizes, with the steps of ``add``; of 8-bit codes there are
256, so each path of a kernel is one table. The engine qnnpack has tables of its own for quint8
(``qlearn.elementwise.qnnpack_tables``).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import DTYPES, QTensor, check_scale, check_zero_point
from qlearn.codes.quantize import in_scalars
from qlearn.codes.rounding import reciprocal, saturate
from qlearn.elementwise import qnnpack_tables
from qlearn.elementwise.exponential import glibc_expf, glibc_expm1f, glibc_tanhf, sleef_expf, sleef_expm1f, sleef_tanhf
from qlearn.elementwise.qnnpack_tables import of_qnnpack
from qlearn.elementwise.sums_and_products import BLOCKS, Dequantize, check_per_tensor, steps
from qlearn.machine.layout import dense_strides, laid_out, new_strides
from qlearn.machine.machine import BODY, TAIL, Machine
from qlearn.machine.releases import ELU_BY_EXP, SIGMOID_FUSED

__all__ = ["clamp", "elu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "relu6", "sigmoid", "tanh"]

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[Any]
Function = Callable[[Floats], Floats]

FROM_0_TO_1 = {"quint8": (2.0**-8, 0), "qint8": (2.0**-8, -128), "qint32": (2.0**-32, 0)}
"""Scale and zero point of sigmoid and hardsigmoid, by dtype."""
FROM_MINUS_1_TO_1 = {"quint8": (2.0**-7, 128), "qint8": (2.0**-7, 0), "qint32": (2.0**-31, 0)}
"""Scale and zero point of tanh, by dtype."""


def relu6(x: QTensor, *, machine: Machine | None = None) -> QTensor:
    """``clamp`` between 0 and 6: torch.nn.functional.relu6 and torch.ops.quantized.relu6 (Chapter 11).

    Args, returns, raises: as ``clamp``. Source: ``qrelu.cpp`` quantized_relu6, which calls hardtanh.
    """
    return clamp(x, 0.0, 6.0, machine=machine)


def hardtanh(x: QTensor, min_val: float = -1.0, max_val: float = 1.0, *, machine: Machine | None = None) -> QTensor:
    """``clamp`` between min_val and max_val: torch.nn.functional.hardtanh (Chapter 11).

    Args, returns, raises: as ``clamp``, and ValueError if min_val > max_val. Source: ``qclamp.cpp``
    hardtanh_quantized_cpu.
    """
    if _float32("min_val", min_val) > _float32("max_val", max_val):
        raise ValueError(f"min_val must not be larger than max_val, got {min_val} and {max_val}")
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
    if min is None and max is None:
        raise ValueError("min and max must not both be None")
    if machine.engine == "qnnpack" and (min is None or max is None):
        raise ValueError(f"min and max must both be given on qnnpack, got {min} and {max}")
    low = code_of(_float32("min", -np.inf if min is None else min), x, machine)
    high = code_of(_float32("max", np.inf if max is None else max), x, machine)
    if of_qnnpack(x, machine):
        return qnnpack_tables.clamp_in_memory_order(x, low, high)
    codes = np.minimum(np.maximum(x.int_repr(), low), high)
    return QTensor(laid_out(codes, new_strides(x.int_repr())), x.q_scale(), x.q_zero_point(), x.dtype)


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
    if of_qnnpack(x, machine):
        qnnpack_tables.check_shape(x, empty=False)
        scaled = qnnpack_tables.shifted(real_hardswish, scale, zero_point)
        return qnnpack_tables.looked_up(x, scaled, scale, zero_point)
    return _each(x, real_hardswish, real_hardswish, scale, zero_point, machine, inverse=inverse_by_double(scale))


def hardsigmoid(x: QTensor, *, machine: Machine | None = None) -> QTensor:
    """min(max(x + 3, 0), 6) / 6 in float32: torch.nn.functional.hardsigmoid (Chapter 11).

    The result's scale is 1/256 and its zero point 0 for quint8, -128 for qint8; 1/2**32 and 0 for qint32, so that one
    half and more become the largest code. Dequantized and quantized as in ``add``; by the engine qnnpack, quint8 as in
    ``hardswish``. Source: ``qhardsigmoid.cpp``; ``QuantizedOpKernels.cpp`` qhardsigmoid_kernel; QNNPACK
    ``hardsigmoid.c``.

    Args, returns, raises: as ``hardswish``, without scale and zero_point.
    """
    machine, scale, zero_point = _check_or_choose(x, None, None, FROM_0_TO_1, machine)
    if of_qnnpack(x, machine):
        qnnpack_tables.check_shape(x, empty=False)
        scaled = qnnpack_tables.shifted(real_hardsigmoid, scale, zero_point)
        return qnnpack_tables.looked_up(x, scaled, scale, zero_point)
    return _each(x, real_hardsigmoid, real_hardsigmoid, scale, zero_point, machine)


def sigmoid(
    x: QTensor, scale: float | None = None, zero_point: int | None = None, *, machine: Machine | None = None
) -> QTensor:
    """1 / (1 + exp(-x)): torch.sigmoid, and with scale and zero_point torch.ops.quantized.sigmoid (Chapter 11).

    - AVX2, AVX512, vector body: dequantized (q - z) * s, up to PyTorch 2.2 as in ``add``; all in float32, exp is
      Sleef's.
    - DEFAULT, vector body: dequantized as in ``add``; all in float32, exp is the C library's.
    - scalar tail: dequantized as in ``add``; exp in float32 is the C library's, sum and quotient are float64.

    Quantized as in ``hardswish``. Without scale and zero_point the result has those of ``hardsigmoid``. The engine
    qnnpack computes a quint8 tensor with 256 / (1 + exp(-x)) in float32, clamped to [0, 255] and rounded, exp the C
    library's. ``qlearn.elementwise.exponential`` says which C library. Source: ``qsigmoid.cpp``;
    ``QuantizedOpKernels.cpp`` qsigmoid_kernel; QNNPACK ``sigmoid.c``.

    Args:
        x: a per-tensor QTensor of any dtype and strides.
        scale, zero_point: of the result, as of ``hardswish``; both or none.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        A QTensor of x's shape and dtype, channels_last if x is, contiguous otherwise.

    Raises:
        TypeError: x is not a QTensor, machine not a Machine.
        ValueError: x is per channel, scale or zero_point out of its range or one of them alone; on the engine qnnpack,
            for quint8, another scale than 1/256, another zero_point than 0, an x without dimensions or with an empty
            axis after the first, and a scale of x that is subnormal as float32.
    """
    machine, scale, zero_point = _check_or_choose(x, scale, zero_point, FROM_0_TO_1, machine)
    if of_qnnpack(x, machine):
        if np.float32(scale) != 2.0**-8 or zero_point != 0:
            raise ValueError(f"scale and zero_point must be 1/256 and 0 on qnnpack, got {scale} and {zero_point}")
        return qnnpack_tables.looked_up(x, qnnpack_tables.sigmoid, scale, zero_point)
    inverse = inverse_by_double(scale)
    if not vectors(machine):
        return _each(x, sigmoid_of_glibc, sigmoid_in_double, scale, zero_point, machine, inverse=inverse)
    dequantize = None if machine.has(SIGMOID_FUSED) else dequantize_float
    body = sigmoid_of_sleef
    return _each(x, body, sigmoid_in_double, scale, zero_point, machine, inverse=inverse, dequantize=dequantize)


def tanh(x: QTensor, *, machine: Machine | None = None) -> QTensor:
    """tanh(x): torch.tanh of a quantized tensor (Chapter 11).

    The result's scale is 1/128 and its zero point 128 for quint8, 0 for qint8; 1/2**31 and 0 for qint32. Dequantized
    and quantized as in ``add``; tanh in float32 is Sleef's in the vector body of AVX2 and AVX512, the C library's in
    the tail and in DEFAULT (``qlearn.elementwise.exponential`` says which). The engine qnnpack computes a quint8 tensor
    with 128 * tanh(x) + 128 in float32, clamped to [0, 255] and rounded, tanh the C library's. Source: ``qtanh.cpp``;
    ``QuantizedOpKernels.cpp`` qtanh_kernel; QNNPACK ``tanh.c``.

    Args, returns, raises: as ``sigmoid``, without scale and zero_point.
    """
    machine, scale, zero_point = _check_or_choose(x, None, None, FROM_MINUS_1_TO_1, machine)
    if of_qnnpack(x, machine):
        return qnnpack_tables.looked_up(x, qnnpack_tables.tanh, scale, zero_point)
    body = sleef_tanhf if vectors(machine) else glibc_tanhf
    return _each(x, body, glibc_tanhf, scale, zero_point, machine)


def elu(x: QTensor, scale: float, zero_point: int, alpha: float = 1.0, *, machine: Machine | None = None) -> QTensor:
    """x where x > 0, else (exp(x) - 1) * alpha, in float32: torch.ops.quantized.elu (Chapter 11).

    Dequantized and quantized as in ``add``, on every engine; exp(x) - 1 is Sleef's expm1 in the vector body of AVX2 and
    AVX512, the C library's in the tail and in DEFAULT (``qlearn.elementwise.exponential`` says which); up to PyTorch
    2.7 it is exp and then a difference. Source: ``qelu.cpp``; ``QuantizedOpKernels.cpp`` qelu_kernel.

    Args:
        x: a per-tensor QTensor of any dtype and strides.
        scale, zero_point: of the result, as of ``hardswish``.
        alpha: a finite number, as float32 too.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        A QTensor of x's shape and dtype, contiguous.

    Raises:
        TypeError: x is not a QTensor, alpha not a real number, machine not a Machine.
        ValueError: x is per channel, scale or zero_point out of its range, alpha not finite.
    """
    machine, scale, zero_point = _check(x, scale, zero_point, machine)
    factor = _finite("alpha", alpha)
    sleef: Function = sleef_expm1f
    glibc: Function = glibc_expm1f
    if machine.has(ELU_BY_EXP):
        sleef, glibc = less_one(sleef_expf), less_one(glibc_expf)
    body = real_elu(sleef if vectors(machine) else glibc, factor)
    tail = real_elu(glibc, factor)
    return _each(x, body, tail, scale, zero_point, machine, strides=dense_strides(x.shape))


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
    check_per_tensor("x", x)
    own = {x.dtype: (x.q_scale(), x.q_zero_point())}
    machine, scale, zero_point = _check_or_choose(x, scale, zero_point, own, machine)
    slope = _finite("negative_slope", negative_slope)
    codes = x.int_repr()
    dense = QTensor(laid_out(codes, new_strides(codes)), x.q_scale(), x.q_zero_point(), x.dtype)  # the kernel's copy
    real = real_leaky_relu(slope)
    return _each(dense, real, real, scale, zero_point, machine)


# The real functions, float32 step by step


def real_hardsigmoid(x: Floats) -> Floats:
    """min(max(x + 3, 0), 6) / 6."""
    return np.asarray(np.minimum(np.maximum(x + np.float32(3), np.float32(0)), np.float32(6)) / np.float32(6))


def real_hardswish(x: Floats) -> Floats:
    """(x * min(max(x + 3, 0), 6)) / 6."""
    return np.asarray(x * np.minimum(np.maximum(x + np.float32(3), np.float32(0)), np.float32(6)) / np.float32(6))


def sigmoid_of_sleef(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), exp by Sleef."""
    return np.float32(1) / (np.float32(1) + sleef_expf(-x))


def sigmoid_of_glibc(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), exp by the C library."""
    return np.float32(1) / (np.float32(1) + glibc_expf(-x))


def sigmoid_in_double(x: Floats) -> Floats:
    """1 / (1 + exp(-x)) in float64, but for exp, by the C library, and the result."""
    return np.asarray(1.0 / (1.0 + glibc_expf(-x).astype(np.float64))).astype(np.float32)


def real_leaky_relu(slope: np.float32) -> Function:
    """x where x > 0, else x * slope."""
    return lambda x: np.where(x > 0, x, x * slope)


def less_one(exp: Function) -> Function:
    """exp(x) - 1, rounded after each step."""
    return lambda x: exp(x) - np.float32(1)


def real_elu(expm1: Function, alpha: np.float32) -> Function:
    """x where x > 0, else expm1(x) * alpha."""
    return lambda x: np.where(x > 0, x, expm1(x) * alpha)


# The kernels


def vectors(machine: Machine) -> bool:
    """Whether a body runs in vectors of AVX2, as it does with AVX512 too."""
    return machine.capability != "DEFAULT"


def dequantize_float(q: Codes, scale: np.float32, zero_point: int) -> Floats:
    """(float32(q) - float32(zero_point)) * scale (AVX2 body of sigmoid)."""
    return np.asarray((q.astype(np.float32) - np.float32(zero_point)) * scale)


def code_of(real: np.float32, x: QTensor, machine: Machine) -> Any:
    """The code of one real number in x, as in the tails of ``add``."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        rounded = in_scalars(machine)(np.asarray(real), reciprocal(x.q_scale()), x.q_zero_point())
    return saturate(rounded, DTYPES[x.dtype])


def inverse_by_double(scale: float) -> Floats:
    """float32(1 / scale), the quotient in float64."""
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / scale).astype(np.float32)


def _each(
    x: QTensor,
    body: Function,
    tail: Function,
    scale: float,
    zero_point: int,
    machine: Machine,
    *,
    inverse: Floats | None = None,
    dequantize: Dequantize | None = None,
    strides: Sequence[int] | None = None,
) -> QTensor:
    """Dequantize each element, compute a function of it in float32 and quantize, on the path that it lies on.

    In a body, ``dequantize`` replaces the step of ``add``; in one of AVX2, ``inverse`` replaces the float32 1 / scale
    for 8-bit codes. ``strides`` are the result's if it is not laid out like x.
    """
    strides = new_strides(x.int_repr()) if strides is None else strides

    def kernel(path: int, q: Codes) -> Codes:
        to_real, quantize = steps(x.dtype, machine, path)
        function, factor = tail, reciprocal(scale)
        if path == BODY:
            function, to_real = body, dequantize or to_real
            if inverse is not None and vectors(machine) and x.dtype != "qint32":
                factor = inverse
        real = function(to_real(q, np.float32(x.q_scale()), x.q_zero_point()))
        return saturate(quantize(real, factor, zero_point), q.dtype)

    codes = x.int_repr()
    tails = machine.path_map(x.shape, strides, x.strides, block=BLOCKS[x.dtype]) == TAIL
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        out = laid_out(_on_path(kernel, BODY, codes), strides)
        out[tails] = _on_path(kernel, TAIL, codes[tails])
    return QTensor(out, scale, zero_point, x.dtype)


def _on_path(kernel: Callable[[int, Codes], Codes], path: int, q: Codes) -> Codes:
    """kernel(path, q); of 8-bit codes looked up in a table of 256."""
    if q.itemsize > 1:
        return kernel(path, q)
    return np.take(kernel(path, np.arange(256, dtype=np.uint8).view(q.dtype)), q.view(np.uint8))


# Arguments


def _check(x: QTensor, scale: Any, zero_point: Any, machine: Machine | None) -> tuple[Machine, float, int]:
    check_per_tensor("x", x)
    return Machine.of(machine), check_scale(scale), check_zero_point(zero_point, x.dtype)


def _check_or_choose(
    x: QTensor, scale: Any, zero_point: Any, own: dict[str, tuple[float, int]], machine: Machine | None
) -> tuple[Machine, float, int]:
    """As ``_check``; without scale and zero point those of x's dtype."""
    if (scale is None) != (zero_point is None):
        raise ValueError(f"scale and zero_point must both be given or both be None, got {scale} and {zero_point}")
    check_per_tensor("x", x)
    if scale is None:
        scale, zero_point = own[x.dtype]
    return _check(x, scale, zero_point, machine)


def _finite(name: str, value: Any) -> np.float32:
    """``_float32``, and not infinite."""
    narrow = _float32(name, value)
    if not np.isfinite(narrow):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return narrow


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
