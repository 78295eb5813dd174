"""Affine quantization: real = scale * (q - zero_point) (Chapter 1, Affine quantization).

``quantize_per_tensor``, ``quantize_per_channel`` and ``QTensor.dequantize`` give PyTorch's own integers and floats on
x86-64 CPUs with AVX2, whatever the capability, the engine, the number of threads, or the place of an element. Of a
``machine`` only the release counts.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from qlearn.codes._torch import Parts, parts_of, tensor_of
from qlearn.codes.quantize import in_scalars, in_vectors_of_fbgemm
from qlearn.codes.rounding import reciprocal, saturate
from qlearn.machine.layout import from_memory_order, in_memory_order, laid_out, new_strides, strides_of
from qlearn.machine.machine import Machine

if TYPE_CHECKING:
    import torch

__all__ = ["DTYPES", "QTensor", "from_torch", "quantize_per_channel", "quantize_per_tensor"]

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[Any]
T = TypeVar("T")

DTYPES: dict[str, type[np.integer[Any]]] = {"quint8": np.uint8, "qint8": np.int8, "qint32": np.int32}
"""PyTorch's quantized dtypes and the integers that hold their codes."""
PIECE = 2**15  # elements that are quantized at once, so that the steps find them in the cache


class QTensor:
    """Integer codes with the scale and zero point that say which real numbers they stand for (Chapter 1).

    Not to be changed after it is made: its arrays are read-only copies. The strides of ``values`` are kept, since the
    order of the elements in memory decides which path of a kernel computes them (Chapter 8).

    Args:
        values: integers of any shape, each within ``dtype``.
        scale: one positive number, or with ``axis`` one for each index along it, shape (C,).
        zero_point: one integer within ``dtype``, or with ``axis`` one for each index along it, shape (C,).
        dtype: "quint8", "qint8" or "qint32".
        axis: the channel axis, 0 <= axis < ndim; None quantizes per tensor.

    Raises:
        TypeError: values or zero_point are not integers, scale is not a real number, dtype is not a string.
        ValueError: anything out of its range, or of another shape.
    """

    __slots__ = ("_axis", "_codes", "_made", "_scales", "_zero_points", "dtype")

    def __init__(
        self,
        values: npt.ArrayLike,
        scale: npt.ArrayLike,
        zero_point: npt.ArrayLike,
        dtype: str,
        axis: int | None = None,
    ) -> None:
        self.dtype = _dtype(dtype)
        self._codes = _codes(values, dtype)
        self._axis = None if axis is None else _axis(axis, self._codes.ndim)
        if self._axis is None:
            self._scales = np.array(check_scale(scale))
            self._zero_points = np.array(check_zero_point(zero_point, dtype))
        else:
            channels = self._codes.shape[self._axis]
            self._scales = _scales(scale, channels)
            self._zero_points = _zero_points(zero_point, channels, dtype)
        self._scales.flags.writeable = self._zero_points.flags.writeable = False
        self._made: dict[Any, Any] = {}

    @classmethod
    def of_new(cls, codes: Codes, scale: float, zero_point: int, dtype: str) -> QTensor:
        """A QTensor per tensor of codes that nobody else holds, with parameters that were checked: nothing is copied.

        Args:
            codes: of the integers of dtype, dense; become read-only.
            scale, zero_point, dtype: as in ``QTensor``.
        """
        made = cls.__new__(cls)
        made.dtype, made._codes, made._axis, made._made = dtype, codes, None, {}
        made._scales, made._zero_points = np.array(scale), np.array(zero_point)
        for array in (codes, made._scales, made._zero_points):
            array.flags.writeable = False
        return made

    def int_repr(self) -> Codes:
        """The integer codes: uint8, int8 or int32, read-only, with the strides the tensor was given."""
        return self._codes

    def dequantize(self) -> Floats:
        """The real numbers that the codes stand for: float32, of the same shape (Chapter 1).

        Per tensor: float32(q - zero_point) * float32(scale), the difference in int32 (it wraps, for qint32), one
        rounding in the product; for qint32 one more in the conversion to float32. Source: FBGEMM ``QuantUtils.h``,
        ``Dequantize``.

        Per channel: (float32(q) - float32(zero_point)) in float32, times the scale in float64, then float32. Source:
        ``QuantizedOpKernels.cpp``, ``dequantize_per_channel_affine_kernel``.
        """
        with np.errstate(over="ignore"):
            if self._axis is None:
                real = _dequantize_per_tensor(self._codes, self.q_scale(), self.q_zero_point())
            else:
                scales, zero_points = (_along(v, self._axis, self.ndim) for v in (self._scales, self._zero_points))
                real = _dequantize_per_channel(self._codes, scales, zero_points)
        return laid_out(real, new_strides(self._codes))

    def q_scale(self) -> float:
        """The scale, as it was given (float64); kernels use its float32. ValueError if per channel."""
        self._require("per_tensor_affine", "q_scale")
        return float(self._scales)

    def q_zero_point(self) -> int:
        """The zero point, the code of real zero. ValueError if per channel."""
        self._require("per_tensor_affine", "q_zero_point")
        return int(self._zero_points)

    def q_per_channel_scales(self) -> npt.NDArray[np.float64]:
        """The scales, float64 of shape (C,). ValueError if per tensor."""
        self._require("per_channel_affine", "q_per_channel_scales")
        return self._scales

    def q_per_channel_zero_points(self) -> npt.NDArray[np.int64]:
        """The zero points, int64 of shape (C,). ValueError if per tensor."""
        self._require("per_channel_affine", "q_per_channel_zero_points")
        return self._zero_points

    def q_per_channel_axis(self) -> int:
        """The channel axis. ValueError if per tensor."""
        self._require("per_channel_affine", "q_per_channel_axis")
        return operator.index(self._axis)  # type: ignore[arg-type]

    def qscheme(self) -> str:
        """ "per_tensor_affine" or "per_channel_affine"."""
        return "per_tensor_affine" if self._axis is None else "per_channel_affine"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the codes."""
        return self._codes.shape

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides of the codes, in elements as PyTorch counts them."""
        return strides_of(self._codes)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._codes.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._codes.size

    def to_torch(self) -> torch.Tensor:
        """The same codes, strides and parameters as a quantized torch.Tensor (needs torch).

        Raises:
            NotImplementedError: per channel with strides other than contiguous and channels_last, which PyTorch
                cannot make.
        """
        if self._axis is None:
            return tensor_of(Parts(self._codes, self.q_scale(), self.q_zero_point(), self.dtype, None))
        return tensor_of(Parts(self._codes, self._scales, self._zero_points, self.dtype, self._axis))

    def once(self, make: Callable[..., T], *args: Hashable) -> T:
        """``make(self, *args)``, computed once and kept: a layer that runs again has its weight prepared."""
        key = (make, *args)
        if key not in self._made:
            self._made[key] = make(self, *args)
        made: T = self._made[key]
        return made

    def _require(self, qscheme: str, name: str) -> None:
        if self.qscheme() != qscheme:
            raise ValueError(f"{name}() needs a {qscheme} tensor; this one is {self.qscheme()}")

    def __repr__(self) -> str:
        codes = np.array2string(self._codes, separator=", ", threshold=64, edgeitems=3, prefix="QTensor(")
        if self._axis is None:
            how = f"scale={self.q_scale()!r}, zero_point={self.q_zero_point()}"
        else:
            scales = np.array2string(self._scales, threshold=8, separator=", ")
            zero_points = np.array2string(self._zero_points, threshold=8, separator=", ")
            how = f"scales={scales}, zero_points={zero_points}, axis={self._axis}"
        return f"QTensor({codes},\n        shape={self.shape}, dtype={self.dtype!r}, {how})"


def quantize_per_tensor(
    x: npt.ArrayLike, scale: float, zero_point: int, dtype: str, *, machine: Machine | None = None
) -> QTensor:
    """Quantize real numbers with one scale and one zero point, as torch.quantize_per_tensor does (Chapter 1).

    With r = float32(1) / float32(scale) and each step in float32: clamp(rint(x * r) + zero_point). The zero point goes
    in after the rounding to an integer; its sum is one of int32 in quint8 and qint8, of float32 in qint32, so that NaN
    gives the largest code or, where zero_point is above 127, the sum wraps to the smallest; -2**31 in qint32.

    PyTorch 2.13 alone adds it before: clamp(rint(fma(x, r, zero_point))) in quint8 and qint8, where NaN gives the
    largest code, and clamp(rint(x * r + zero_point)) in qint32.

    Where 1 / scale overflows, r is infinite and a zero in x becomes NaN. Source: FBGEMM ``QuantUtils.h`` ``Quantize``
    and ``QuantUtilsAvx2.cc`` ``QuantizeAvx2``.

    Args:
        x: float32 array of any shape and strides, or (nested lists of) Python numbers, which are rounded to float32.
        scale: positive and finite, as float32 too.
        zero_point: an integer within dtype.
        dtype: "quint8", "qint8" or "qint32".
        machine: of which the release counts; None is ``Machine.default()``.

    Returns:
        A QTensor of x's shape; channels_last if x is, contiguous otherwise, as PyTorch decides it from the strides.

    Raises:
        TypeError: x is an array of another dtype than float32 (PyTorch: "Quantize only works on Float Tensor").
        ValueError: scale is not positive and finite (PyTorch takes 0, negative, infinite and NaN scales in silence and
            returns integers without meaning), zero_point outside dtype, an unknown dtype.
    """
    machine, dtype = Machine.of(machine), _dtype(dtype)
    scale, zero_point = check_scale(scale), check_zero_point(zero_point, dtype)
    real = _real(x)
    flat, inverse = in_memory_order(real, new_strides(real)), reciprocal(scale)
    codes = np.empty(flat.shape, DTYPES[dtype])
    for i in range(0, len(flat), PIECE):
        codes[i : i + PIECE] = _quantize(flat[i : i + PIECE], inverse, zero_point, dtype, machine)
    return QTensor(from_memory_order(codes, real), scale, zero_point, dtype)


def _quantize(x: Floats, inverse: Floats, zero_point: int, dtype: str, machine: Machine) -> Codes:
    """float32 real numbers -> integer codes, per tensor."""
    quantize = in_scalars(machine) if dtype == "qint32" else in_vectors_of_fbgemm(machine)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return saturate(quantize(x, inverse, zero_point), DTYPES[dtype])


def quantize_per_channel(
    x: npt.ArrayLike,
    scales: npt.ArrayLike,
    zero_points: npt.ArrayLike,
    axis: int,
    dtype: str,
    *,
    machine: Machine | None = None,
) -> QTensor:
    """Quantize with a scale and a zero point for each index along an axis, as torch.quantize_per_channel (Chapter 1).

    With r = float32(1) / float32(scale) for each channel, all in float32: clamp(rint(x * r) + zero_point), as
    ``quantize_per_tensor``. In PyTorch 2.13 clamp(rint(x * r + zero_point)), where product and sum are rounded one
    after the other; per tensor 2.13 fuses them for 8 bits, so that equal parameters can give other integers (Chapter
    2). NaN gives 0 in eight bits and -2**31 in qint32. Source: ``QuantizedOpKernels.cpp``
    ``quantize_tensor_per_channel_impl``, ``AffineQuantizerBase.cpp`` ``quantize_val``.

    Args:
        x: float32 array of any shape and strides, or (nested lists of) Python numbers, which are rounded to float32.
        scales: shape (C,), positive and finite, as float32 too; kept as float64.
        zero_points: shape (C,), integers within dtype.
        axis: 0 <= axis < x.ndim, with C = x.shape[axis]; at most 1 where x is channels_last, as in PyTorch.
        dtype: "quint8", "qint8" or "qint32".
        machine: of which the release counts; None is ``Machine.default()``.

    Returns:
        A QTensor of x's shape; channels_last if x is, contiguous otherwise.

    Raises:
        TypeError, ValueError: as ``quantize_per_tensor``, and for scales or zero_points of another length than C.
    """
    machine, dtype = Machine.of(machine), _dtype(dtype)
    real = _real(x)
    axis = _axis(axis, real.ndim)
    channels = real.shape[axis]
    scales, zero_points = _scales(scales, channels), _zero_points(zero_points, channels, dtype)
    inverse = _along(reciprocal(scales), axis, real.ndim)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        rounded = in_scalars(machine)(real, inverse, _along(zero_points, axis, real.ndim))
    codes = laid_out(saturate(rounded, DTYPES[dtype]), new_strides(real))
    if axis > 1 and not codes.flags.c_contiguous:
        raise ValueError(f"axis of a channels_last x must be 0 or 1 (PyTorch takes no other), got {axis}")
    return QTensor(codes, scales, zero_points, dtype, axis)


def _dequantize_per_tensor(codes: Codes, scale: float, zero_point: int) -> Floats:
    """Integer codes -> float32; the difference is exact, or wraps for qint32."""
    difference = np.asarray(np.subtract(codes, zero_point, dtype=np.int32))
    real: Floats = difference.astype(np.float32) * np.float32(scale)
    return real


def _dequantize_per_channel(codes: Codes, scales: npt.NDArray[np.float64], zero_points: Codes) -> Floats:
    """Integer codes -> float32; float32 difference, float64 product."""
    difference = codes.astype(np.float32) - zero_points.astype(np.float32)
    real: Floats = (difference.astype(np.float64) * scales).astype(np.float32)
    return real


def from_torch(t: torch.Tensor) -> QTensor:
    """A quantized torch.Tensor as a QTensor: same codes, strides and parameters (needs torch; Chapter 1).

    Raises:
        TypeError: t is not a quantized tensor.
        NotImplementedError: its dtype is not quint8, qint8 or qint32, or its qscheme is neither per_tensor_affine nor
            per_channel_affine.
    """
    return QTensor(*parts_of(t, DTYPES))


def _dtype(dtype: str) -> str:
    if not isinstance(dtype, str):
        raise TypeError(f"dtype must be one of the strings {', '.join(DTYPES)}, got {dtype!r}")
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    return dtype


def _real(x: npt.ArrayLike) -> Floats:
    if hasattr(x, "dtype"):  # an array of any library
        array = np.asarray(x)
        if array.dtype != np.float32:
            raise TypeError(f"x must be float32, got {array.dtype}; convert it to float32 first")
        return array
    with np.errstate(over="ignore"):
        return _number("x", x, "fiu", "a float32 array or Python numbers").astype(np.float32)


def _number(name: str, value: Any, kinds: str, what: str) -> npt.NDArray[Any]:
    """An array of real numbers of the given NumPy kinds, or a TypeError that names the argument."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be {what}, got a ragged sequence: {error}") from None
    if array.size and array.dtype.kind not in kinds:
        raise TypeError(f"{name} must be {what}, got {value!r} ({array.dtype})")
    return array


def check_scale(scale: Any) -> float:
    """The scale as a float, or a TypeError or ValueError that says what it must be."""
    if type(scale) is float and 1e-30 < scale < 1e30:  # as nearly all are
        return scale
    array = _number("scale", scale, "fiu", "a real number")
    if array.ndim != 0:
        raise ValueError(f"scale must be one number, got an array of shape {array.shape}")
    _positive("scale", array)
    return float(array)


def _scales(scales: Any, channels: int) -> npt.NDArray[np.float64]:
    array = _number("scales", scales, "fiu", "real numbers")
    if array.shape != (channels,):
        raise ValueError(f"scales must have shape ({channels},), the length of x along axis, got {array.shape}")
    _positive("scales", array)
    return array.astype(np.float64)


def _positive(name: str, scales: npt.NDArray[Any]) -> None:
    with np.errstate(over="ignore", under="ignore"):
        narrow = scales.astype(np.float32)
    bad = ~(np.isfinite(narrow) & (narrow > 0))
    if bad.any():
        raise ValueError(f"{name} must be positive and finite as float32, got {scales[bad].flat[0]}")


def check_zero_point(zero_point: Any, dtype: str) -> int:
    """The zero point as an int, or a TypeError or ValueError that says what it must be."""
    if type(zero_point) is int and 0 <= zero_point <= 127:  # within each dtype
        return zero_point
    array = _number("zero_point", zero_point, "iu", "an integer")
    if array.ndim != 0:
        raise ValueError(f"zero_point must be one integer, got an array of shape {array.shape}")
    _within("zero_point", array, dtype)
    return int(array)


def _zero_points(zero_points: Any, channels: int, dtype: str) -> npt.NDArray[np.int64]:
    array = _number("zero_points", zero_points, "iu", "integers")
    if array.shape != (channels,):
        raise ValueError(f"zero_points must have shape ({channels},), the length of x along axis, got {array.shape}")
    _within("zero_points", array, dtype)
    return array.astype(np.int64)


def _within(name: str, values: npt.NDArray[Any], dtype: str) -> None:
    info = np.iinfo(DTYPES[dtype])
    bad = (values < info.min) | (values > info.max)
    if bad.any():
        raise ValueError(f"{name} must be in [{info.min}, {info.max}] for {dtype}, got {values[bad].flat[0]}")


def _axis(axis: Any, ndim: int) -> int:
    try:
        index = operator.index(axis)
    except TypeError:
        raise TypeError(f"axis must be an integer, got {axis!r}") from None
    if not 0 <= index < ndim:
        raise ValueError(f"axis must be in [0, {ndim}), got {index}")
    return index


def _along(values: npt.NDArray[Any], axis: int, ndim: int) -> npt.NDArray[Any]:
    """(C,) -> (1, ..., C, ..., 1), to broadcast along axis."""
    return values.reshape([-1 if i == axis else 1 for i in range(ndim)])


def _codes(values: Any, dtype: str) -> Codes:
    """A read-only copy of values as the integers of dtype, with the same strides in elements."""
    array = _number("values", values, "iu", "integers")
    if array.dtype != DTYPES[dtype]:
        _within("values", array, dtype)
    if any(stride < 0 for stride in array.strides):
        array = np.ascontiguousarray(array)  # PyTorch has no negative strides
    codes = laid_out(array.astype(DTYPES[dtype], copy=False), strides_of(array))
    codes.flags.writeable = False
    return codes
