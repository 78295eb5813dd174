"""Sums and products of two quantized tensors (Chapter 4, Adding; Chapter 5, Multiplying, scalars, ReLU, cat).

Each way in which a kernel dequantizes, requantizes or rounds is one small function here. Which one computes an element
depends on the capability and on where the element lies: ``Machine.path_map``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import DTYPES, QTensor, check_scale, check_zero_point
from qlearn.codes.quantize import Quantize, in_scalars, in_vectors, in_vectors_of_fbgemm
from qlearn.codes.rounding import cvtps2dq, fma, reciprocal, saturate
from qlearn.elementwise import xnnpack
from qlearn.elementwise.qnnpack_add import qnnpack_add
from qlearn.machine.iteration import broadcast_strides, inner_to_outer
from qlearn.machine.layout import dense_strides, in_memory_order, like_channels_last, strides_in_order, with_strides
from qlearn.machine.machine import BODY, TAIL, Machine
from qlearn.machine.releases import MULTIPLIED_IN_FLOAT

__all__ = ["add", "add_relu", "mul", "mul_relu"]

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[Any]
Ints = npt.NDArray[np.int32]
Shape = tuple[int, ...]

BLOCKS = {"quint8": 64, "qint8": 64, "qint32": 16}
"""Elements that a vector loop takes at once: two vectors of 32 bytes, or two of 8 integers."""


def add(a: QTensor, b: QTensor, scale: float, zero_point: int, *, machine: Machine | None = None) -> QTensor:
    """Add two quantized tensors as torch.ops.quantized.add and FloatFunctional.add do (Chapter 4).

    With r = float32(1) / float32(scale), x the float32 sum of both dequantized inputs, all in float32:

    - AVX2, AVX512, vector body: dequantize fma(s, q, s * -z); quantize rint(x * r) + zero_point.
    - DEFAULT, vector body, and scalar tail: dequantize (q - z) * s; quantize rint(x * r) + zero_point.
    - the same in 2.13: rint(fma(x, r, zero_point)) in DEFAULT's body, rint(x * r + zero_point) in the tail, rounded
      after each step.

    Then the result is clamped to the dtype. qint32 is quantized as in the tail, in the body too, and DEFAULT's body
    rounds its zero points to float32. The engine qnnpack
    adds quint8 tensors of one shape in integers (``qlearn.elementwise.qnnpack_add``); all else it leaves to this
    kernel. Source: ``BinaryOps.cpp`` qadd; ``QuantizedOpKernels.cpp`` qadd_kernel (compiled for DEFAULT and AVX2;
    AVX512 runs the AVX2 one), ``vec256_qint.h``, ``AffineQuantizerBase.cpp``.

    Args:
        a, b: per-tensor QTensors of one dtype, any strides; their shapes broadcast as in NumPy.
        scale: of the result; positive and finite, as float32 too.
        zero_point: of the result; an integer within the dtype.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        A QTensor of the dtype and of the common shape; in a's memory format (channels_last or contiguous) if that is
        a's shape, else with its axes in the order in which TensorIterator visits those of a and b.

    Raises:
        TypeError: a or b is not a QTensor, machine not a Machine.
        ValueError: shapes that do not fit, different dtypes, an input per channel, scale or zero_point out of its
            range; what the engine qnnpack refuses (``qlearn.elementwise.qnnpack_add``).
    """
    return _add(a, b, scale, zero_point, machine, relu=False)


def add_relu(a: QTensor, b: QTensor, scale: float, zero_point: int, *, machine: Machine | None = None) -> QTensor:
    """``add``, with the sum x replaced by max(x, 0) before it is quantized: torch.ops.quantized.add_relu (Chapter 4).

    Args, returns, raises: as ``add``. Source: as ``add``, with ReLUFused.
    """
    return _add(a, b, scale, zero_point, machine, relu=True)


def mul(a: QTensor, b: QTensor, scale: float, zero_point: int, *, machine: Machine | None = None) -> QTensor:
    """Multiply two quantized tensors as torch.ops.quantized.mul and FloatFunctional.mul do (Chapter 5).

    With c = (qa - za) * (qb - zb) in int32 and the float32 multiplier m = (sa * sb) * (1 / scale), rounded after each
    step: clamp(rint(float32(c) * m) + zero_point), in body and tail, on every engine. The paths part only where the
    product leaves int32 (``requantize_vector``, ``requantize_default``, ``requantize_scalar``). Source: ``qmul.cpp``
    QMul, ``QuantizedOpKernels.cpp`` qmul_kernel, ``vec256_qint.h`` requantize_from_int, ``AffineQuantizerBase.cpp``.

    Args, raises: as ``add``; the engine qnnpack refuses nothing here.

    Returns:
        A QTensor of the dtype and of the common shape, in a's memory format (channels_last or contiguous).

    Raises:
        ValueError: a is channels_last and the common shape has more dimensions, which PyTorch refuses.
    """
    return _mul(a, b, scale, zero_point, machine, relu=False)


def mul_relu(a: QTensor, b: QTensor, scale: float, zero_point: int, *, machine: Machine | None = None) -> QTensor:
    """``mul``, then max(code, zero_point): torch.ops.quantized.mul_relu (Chapter 5).

    Args, returns, raises: as ``mul``. Source: as ``mul``, with ReLUFused.
    """
    return _mul(a, b, scale, zero_point, machine, relu=True)


# The steps of add

Dequantize = Callable[[Codes, np.float32, int], Floats]


def dequantize_fused(q: Codes, scale: np.float32, zero_point: int) -> Floats:
    """fma(scale, q, scale * -zero_point): the product is rounded first, then the fused sum (AVX2 body)."""
    return fma(scale, q, scale * np.float32(-zero_point))


def dequantize_subtract(q: Codes, scale: np.float32, zero_point: int) -> Floats:
    """float32(q - zero_point) * scale: the difference in int32, the product rounded once (tails)."""
    return np.asarray((q.astype(np.int32) - np.int32(zero_point)).astype(np.float32) * scale)


def dequantize_default(q: Codes, scale: np.float32, zero_point: int) -> Floats:
    """``dequantize_subtract``, the zero point rounded to float32: of qint32 not every one fits (DEFAULT body)."""
    return dequantize_subtract(q, scale, int(np.int64(np.float32(zero_point)).astype(np.int32)))


def steps(dtype: str, machine: Machine, path: int) -> tuple[Dequantize, Quantize]:
    """How a kernel dequantizes and quantizes on one path: where the body and the tail of add are rounded."""
    dequantize: Dequantize = dequantize_subtract
    if path == BODY:
        dequantize = dequantize_default if machine.capability == "DEFAULT" else dequantize_fused
    if path == TAIL or dtype == "qint32":
        return dequantize, in_scalars(machine)
    return dequantize, in_vectors_of_fbgemm(machine) if machine.capability == "DEFAULT" else in_vectors


@dataclass(frozen=True)
class Pairwise:
    """All that two codes of a dtype need to become one, but for the path."""

    compute: Callable[[Any, int, Codes, Codes], Codes]  # of this, the path and the codes
    a: tuple[float, int]  # scale and zero point
    b: tuple[float, int]
    result: tuple[float, int]
    dtype: str
    machine: Machine
    relu: bool

    def __call__(self, path: int, qa: Codes, qb: Codes) -> Codes:
        return self.compute(self, path, qa, qb)


def _add(a: QTensor, b: QTensor, scale: Any, zero_point: Any, machine: Machine | None, *, relu: bool) -> QTensor:
    machine = Machine.of(machine)
    shape = _common_shape(a, b)
    scale, zero_point = check_scale(scale), check_zero_point(zero_point, a.dtype)
    if machine.engine == "qnnpack" and a.dtype == "quint8" and a.shape == b.shape:
        return qnnpack_add(a, b, scale, zero_point, relu=relu)
    if xnnpack.adds(machine, a.dtype):
        return xnnpack.sum_of(a, b, scale, zero_point, machine, relu=relu)
    kernel = _pairwise(sum_of, a, b, scale, zero_point, machine, relu=relu)
    codes = each_pair(kernel, a, b, shape, _strides_of_sum(a, b, shape), machine)
    return QTensor.of_new(codes, scale, zero_point, a.dtype)


def sum_of(p: Pairwise, path: int, qa: Codes, qb: Codes) -> Codes:
    """The codes of the sums of two codes each."""
    dequantize, quantize = steps(p.dtype, p.machine, path)
    scale, zero_point = p.result
    x = _real(dequantize, p.dtype, *p.a, qa) + _real(dequantize, p.dtype, *p.b, qb)
    if p.relu:
        x = np.where(x < 0, np.float32(0), x)
    return saturate(quantize(x, reciprocal(scale), zero_point), qa.dtype)


def _real(dequantize: Dequantize, dtype: str, scale: float, zero_point: int, codes: Codes) -> Floats:
    """The real numbers of codes; those of 8 bits are looked up in a table of 256."""
    if dtype == "qint32":
        return dequantize(codes, np.float32(scale), zero_point)
    table = dequantize(np.arange(256, dtype=np.uint8).view(codes.dtype), np.float32(scale), zero_point)
    return np.take(table, codes.view(np.uint8), mode="clip")


def _strides_of_sum(a: QTensor, b: QTensor, shape: Shape) -> tuple[int, ...]:
    """The strides of a sum. PyTorch makes the result like a; if b is larger, it is made anew in visiting order."""
    if a.shape == shape:
        return dense_strides(shape, channels_last=like_channels_last(a.int_repr()))
    inputs = [broadcast_strides(t.int_repr(), shape) for t in (a, b)]
    return strides_in_order(shape, inner_to_outer(shape, inputs))


# The steps of mul


def multiplier_of_product(a_scale: float, b_scale: float, scale: float) -> np.float32:
    """(a_scale * b_scale) * (1 / scale), each scale and each step rounded to float32."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.float32(np.float32(a_scale) * np.float32(b_scale) * reciprocal(scale))


def requantize_vector(c: Ints, multiplier: np.float32, zero_point: int) -> Codes:
    """rint(c * multiplier) + zero_point in int32; -2**31 where the product leaves int32 (AVX2 body)."""
    return np.asarray(cvtps2dq(c.astype(np.float32) * multiplier) + np.int32(zero_point))


def requantize_default(c: Ints, multiplier: np.float32, zero_point: int) -> Codes:
    """rint(c * multiplier) + zero_point in float32, then int32; -2**31 where it leaves int32 (DEFAULT body)."""
    return cvtps2dq(np.rint(c.astype(np.float32) * multiplier) + np.float32(zero_point))


def requantize_scalar(c: npt.NDArray[Any], multiplier: np.float32, zero_point: int) -> Codes:
    """rint(float32(float64(c) * multiplier)) + zero_point in int64; -2**63 where it leaves int64 (tails).

    The same float32 as in the bodies where c has at most 24 bits, as products of 8-bit codes have.
    """
    y = np.rint((c.astype(np.float64) * multiplier).astype(np.float32)).astype(np.float64)
    fits = (y >= -(2.0**63)) & (y < 2.0**63)
    return np.asarray(np.where(fits, y, -(2.0**63)).astype(np.int64) + np.int64(zero_point))


def requantize_scalar_in_float(c: Ints, multiplier: np.float32, zero_point: int) -> Codes:
    """``requantize_scalar`` of float32(c) * multiplier."""
    return requantize_scalar(c.astype(np.float32), multiplier, zero_point)


def requantize(path: int, machine: Machine, c: Ints, multiplier: np.float32, zero_point: int, dtype: str) -> Codes:
    """Integers c of scale multiplier -> codes, on one path of a kernel."""
    step = requantize_scalar_in_float if machine.has(MULTIPLIED_IN_FLOAT) else requantize_scalar
    if path == BODY:
        step = requantize_default if machine.capability == "DEFAULT" else requantize_vector
    return saturate(step(c, multiplier, zero_point), DTYPES[dtype])


def _mul(a: QTensor, b: QTensor, scale: Any, zero_point: Any, machine: Machine | None, *, relu: bool) -> QTensor:
    machine = Machine.of(machine)
    shape = _common_shape(a, b)
    scale, zero_point = check_scale(scale), check_zero_point(zero_point, a.dtype)
    if xnnpack.multiplies(machine, a.dtype, zero_point):
        return xnnpack.product(a, b, scale, zero_point, machine, relu=relu)
    channels_last = like_channels_last(a.int_repr())
    if channels_last and len(shape) != a.ndim:
        raise ValueError(f"a must be contiguous to be multiplied in {len(shape)} dimensions, got strides {a.strides}")
    kernel = _pairwise(product_of, a, b, scale, zero_point, machine, relu=relu)
    strides = dense_strides(shape, channels_last=channels_last)
    codes = each_pair(kernel, a, b, shape, strides, machine)
    return QTensor.of_new(codes, scale, zero_point, a.dtype)


def product_of(p: Pairwise, path: int, qa: Codes, qb: Codes) -> Codes:
    """The codes of the products of two codes each."""
    (a_scale, a_zero_point), (b_scale, b_zero_point), (scale, zero_point) = p.a, p.b, p.result
    c = (qa.astype(np.int32) - np.int32(a_zero_point)) * (qb.astype(np.int32) - np.int32(b_zero_point))
    multiplier = multiplier_of_product(a_scale, b_scale, scale)
    codes = requantize(path, p.machine, c, multiplier, zero_point, p.dtype)
    return np.maximum(codes, codes.dtype.type(zero_point)) if p.relu else codes


# Both

Kernel = Callable[[int, Codes, Codes], Codes]


def _pairwise(
    compute: Callable[[Pairwise, int, Codes, Codes], Codes],
    a: QTensor,
    b: QTensor,
    scale: float,
    zero_point: int,
    machine: Machine,
    *,
    relu: bool,
) -> Pairwise:
    first, second = ((t.q_scale(), t.q_zero_point()) for t in (a, b))
    return Pairwise(compute, first, second, (scale, zero_point), a.dtype, machine, relu)


def each_pair(kernel: Kernel, a: QTensor, b: QTensor, shape: Shape, strides: Shape, machine: Machine) -> Codes:
    """Compute every element on the path that it lies on; codes of the given shape and strides."""
    inputs = tuple(broadcast_strides(t.int_repr(), shape) for t in (a, b))
    most, others = _paths(machine, shape, tuple(strides), inputs, BLOCKS[a.dtype])
    arrays = (t.int_repr() if t.shape == shape else np.broadcast_to(t.int_repr(), shape) for t in (a, b))
    qa, qb = (in_memory_order(array, strides) for array in arrays)  # (n,)
    out = _on_path(kernel, most, qa, qb)
    if len(others):
        out[others] = _on_path(kernel, TAIL, qa[others], qb[others])
    return with_strides(out, shape, strides)


@lru_cache(maxsize=128)  # a network asks again for each of its layers
def _paths(
    machine: Machine, shape: Shape, strides: Shape, inputs: tuple[Shape, ...], block: int
) -> tuple[int, npt.NDArray[np.intp]]:
    """BODY, or TAIL where all elements are on it; and the elements on the other path, by their place in memory."""
    paths = in_memory_order(machine.path_map(shape, strides, *inputs, block=block), strides)
    most = TAIL if (paths == TAIL).all() else BODY
    return most, np.flatnonzero(paths != most)


PIECE = 2**15  # elements that are computed at once, so that the steps find them in the cache


def _on_path(kernel: Kernel, path: int, qa: Codes, qb: Codes) -> Codes:
    """kernel(path, qa, qb); looked up in a table of every pair of 8-bit codes where that is less work."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if qa.itemsize > 1 or qa.size <= TABLE:
            out = np.empty_like(qa)
            for i in range(0, len(qa), PIECE):
                out[i : i + PIECE] = kernel(path, qa[i : i + PIECE], qb[i : i + PIECE])
            return out
        pairs = qa.view(np.uint8).astype(np.uint16)
        pairs *= np.uint16(256)
        pairs += qb.view(np.uint8)
        table: Codes = _table(kernel, path, qa.dtype)
        return np.take(table, pairs, mode="clip")


TABLE = 2**12  # elements; from more on a table is quicker, the second time at the latest


@lru_cache(maxsize=128)  # a network asks again for each of its layers
def _table(kernel: Kernel, path: int, dtype: Any) -> Codes:
    """Of every pair of 8-bit codes, shape (65536,), in the order of their bits as unsigned."""
    codes = np.arange(256, dtype=np.uint8).view(dtype)
    return kernel(path, codes.repeat(256), np.tile(codes, 256))


def check_per_tensor(name: str, t: QTensor) -> None:
    """Refuse what is no QTensor, or is quantized per channel, by the argument's name."""
    if not isinstance(t, QTensor):
        raise TypeError(f"{name} must be a QTensor, got {type(t).__name__}")
    if t.qscheme() != "per_tensor_affine":
        raise ValueError(f"{name} must be quantized per tensor, got {t.qscheme()}")


def _common_shape(a: QTensor, b: QTensor) -> Shape:
    check_per_tensor("a", a)
    check_per_tensor("b", b)
    if a.dtype != b.dtype:
        raise ValueError(f"a and b must have the same dtype, got {a.dtype} and {b.dtype}")
    try:
        return np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise ValueError(f"a and b must have shapes that broadcast, got {a.shape} and {b.shape}") from None
