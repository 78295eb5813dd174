"""The largest and the average code of each window (Chapter 10, A residual block and ResNet-18).

A pool keeps the scale and the zero point of its input, so a maximum is a maximum of codes. An average is an exact
integer sum that is scaled and rounded, in one of five ways: the engine, the memory format and the place of a channel
decide which.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import DTYPES, QTensor
from qlearn.codes.quantize import in_scalars, in_vectors, in_vectors_of_fbgemm
from qlearn.codes.rounding import add_then_round, cvtps2dq, reciprocal, saturate
from qlearn.elementwise.concatenate import inverse_in_double
from qlearn.elementwise.shapes import squeeze, unsqueeze
from qlearn.elementwise.sums_and_products import check_per_tensor
from qlearn.layers.windows import lengths
from qlearn.machine.layout import dense_strides, is_channels_last, laid_out, like_channels_last, made_contiguous
from qlearn.machine.machine import Machine
from qlearn.machine.releases import PADDING_OF_THE_UNDILATED

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_spans",
    "as_written",
    "avg_pool2d",
    "geometry",
    "max_pool1d",
    "max_pool2d",
    "regular_spans",
    "vectors_first",
]

Codes = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Lengths = int | Sequence[int]
Sides = tuple[int, ...]  # one number for the height, one for the width
Average = Callable[[Floats, Floats, int], Codes]

VECTOR = {"DEFAULT": 0, "AVX2": 8, "AVX512": 16}
"""Channels that the average pool of a channels_last tensor computes at once; 0 where it has no vector loop."""
EIGHT = 8  # channels that the adaptive one computes at once; it has no AVX-512 version


def max_pool2d(
    x: QTensor,
    kernel_size: Lengths,
    stride: Lengths | None = None,
    padding: Lengths = 0,
    dilation: Lengths = 1,
    ceil_mode: bool = False,
    *,
    machine: Machine | None = None,
) -> QTensor:
    """The largest code of each window, as torch.nn.functional.max_pool2d finds it (Chapter 10).

    What a window sees of the padding counts for nothing. The engine qnnpack moves it to the nearest pixel of x instead
    (quint8 without ceil_mode), which differs where dilation is above 1: such a window may not hold that pixel. A
    window that sees padding alone gives the lowest code. Source: ``Pooling.cpp`` quantized_max_pool2d,
    ``QuantizedOpKernels.cpp`` qmaxpool_2d_nhwc_kernel, QNNPACK ``indirection.c`` init_maxpool2d.

    Args:
        x: a per-tensor QTensor of any dtype, (N, C, H, W) or (C, H, W).
        kernel_size, stride, padding, dilation: one integer, or one for height and one for width; stride None is
            kernel_size. padding is at most half of the kernel; for qnnpack, of the dilated one.
        ceil_mode: whether a last window may reach beyond the padded x.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        A QTensor with x's scale, zero point and dtype, (N, C, H_out, W_out) or (C, H_out, W_out); channels_last if x
        is dense channels_last (for qnnpack: like channels_last), contiguous otherwise.

    Raises:
        TypeError: x is not a QTensor, a length is not an integer, machine is not a Machine.
        ValueError: x is per channel, empty but for its batch, or of other dimensions (qnnpack takes four); a length out
            of its range; windows that fit nowhere; a kernel of one pixel on qnnpack.
    """
    machine = Machine.of(machine)
    kernel, step, pad, spread = geometry(x, kernel_size, stride, padding, dilation)
    qnnpack = _on_qnnpack(x, machine) and not ceil_mode
    for k, p, d in zip(kernel, pad, spread, strict=True):
        dilated = qnnpack and not machine.has(PADDING_OF_THE_UNDILATED)
        most = ((k - 1) * d + 1) // 2 if dilated else min(k, (k - 1) * d + 1) // 2
        if p > most:
            raise ValueError(f"padding must be at most {most}, half of the kernel, got {padding}")
    if qnnpack:
        _check_qnnpack(x, kernel)
    q = x.int_repr()
    shape = _out_shape(x, kernel, step, pad, spread, ceil_mode)
    largest = np.ascontiguousarray(np.moveaxis(q, -3, -1))  # (..., H, W, C): neighbours in memory stay together
    for axis, k, s, p, d in zip((-2, -1), kernel, step, pad, spread, strict=True):
        largest = _largest(largest, axis - 1, np.arange(k) * d - p, s, shape[axis], nearest=qnnpack)
    largest = np.moveaxis(largest, -1, -3)
    if qnnpack:
        return _from_qnnpack(x, largest)
    return as_written(x, largest)


def max_pool1d(
    x: QTensor,
    kernel_size: Lengths,
    stride: Lengths | None = None,
    padding: Lengths = 0,
    dilation: Lengths = 1,
    ceil_mode: bool = False,
    *,
    machine: Machine | None = None,
) -> QTensor:
    """The largest code of each window along the last axis: torch.nn.functional.max_pool1d (Chapter 10).

    ``max_pool2d`` of x with a height of 1. Source: ``Pooling.cpp`` quantized_max_pool1d.

    Args, returns, raises: as ``max_pool2d``, of x (N, C, L) or (C, L) and one number for each length; qnnpack takes
        three dimensions.
    """
    check_per_tensor("x", x)
    if x.ndim not in (2, 3):
        raise ValueError(f"x must have 3 dimensions, N, C and L, or 2, got shape {x.shape}")
    (kernel,), (pad,), (spread,) = (
        lengths(name, value, 1, least)
        for name, value, least in (("kernel_size", kernel_size, 1), ("padding", padding, 0), ("dilation", dilation, 1))
    )
    (step,) = (kernel,) if stride is None else lengths("stride", stride, 1, 1)
    y = max_pool2d(unsqueeze(x, -2), (1, kernel), (1, step), (0, pad), (1, spread), ceil_mode, machine=machine)
    return squeeze(y, -2)


def avg_pool2d(
    x: QTensor,
    kernel_size: Lengths,
    stride: Lengths | None = None,
    padding: Lengths = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    machine: Machine | None = None,
) -> QTensor:
    """The average of each window, as torch.nn.functional.avg_pool2d computes it (Chapter 10).

    S is the exact int32 sum of q - zero_point over what the window sees of x, n the number to divide by: the window's
    pixels, those in the padding too if count_include_pad, or divisor_override. With m = 1 / n, all in float32, then
    clamped to the dtype:

    - x channels_last, AVX2 in eights of channels, AVX512 in sixteens: rint(S * m) + zero_point.
    - x channels_last, the channels left over, all on DEFAULT, and qint32: rint(S * m + zero_point).
    - any other x: the same, 1 / n divided in float64 and then rounded, which differs for n above 2**24 alone.
    - the engine qnnpack, quint8 without ceil_mode: rint(S * m) + zero_point with m = scale / (scale * n). There n is
      always the whole kernel: count_include_pad and divisor_override change nothing.

    Source: ``AveragePool2d.cpp``, ``QuantizedOpKernels.cpp`` _qavg_pool_nhwc_kernel, QNNPACK ``average-pooling.c``.

    Args:
        x: a per-tensor QTensor of any dtype, (N, C, H, W) or (C, H, W).
        kernel_size, stride, padding: one integer, or one for height and one for width; stride None is kernel_size.
            padding is at most half of the kernel.
        ceil_mode: whether a last window may reach beyond the padded x.
        count_include_pad: whether pixels of the padding count.
        divisor_override: a number to divide by in the place of the count: not 0, an int32.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        A QTensor laid out as ``max_pool2d``'s.

    Raises:
        TypeError, ValueError: as ``max_pool2d``, and for a divisor_override that is no such integer; on qnnpack for a
            scale that is no normal float32.
    """
    machine = Machine.of(machine)
    kernel, step, pad, _ = geometry(x, kernel_size, stride, padding, 1)
    for k, p in zip(kernel, pad, strict=True):
        if p > k // 2:
            raise ValueError(f"padding must be at most {k // 2}, half of the kernel, got {padding}")
    qnnpack = _on_qnnpack(x, machine) and not ceil_mode
    shape = _out_shape(x, kernel, step, pad, (1, 1), ceil_mode, least=1 if qnnpack else 0)
    spans = [regular_spans(*where) for where in zip(shape[-2:], kernel, step, pad, strict=True)]
    if qnnpack:
        return _qnnpack_average(x, spans, kernel)
    if divisor_override is None:
        margins = pad if count_include_pad else (0, 0)
        n = np.multiply.outer(*(_counts(*at) for at in zip(spans, x.shape[-2:], margins, strict=True)))
    else:
        n = np.asarray(_divisor(divisor_override))
    s = _sums_of_differences(x, spans)
    if not is_channels_last(x.int_repr()):
        return as_written(x, _quantized(x, quantize_in_int32, inverse_in_double(n), s))
    machine.check_bodies()
    m = inverse_of_count(n)
    body, tail = (partial(_quantized, x, average, m) for average in (in_vectors, in_scalars(machine)))
    return as_written(x, vectors_first(s, 0 if x.dtype == "qint32" else VECTOR[machine.capability], body, tail))


def adaptive_avg_pool2d(x: QTensor, output_size: Lengths, *, machine: Machine | None = None) -> QTensor:
    """The average of as many windows as wanted, torch.nn.functional.adaptive_avg_pool2d (Chapter 10).

    Window i of an axis reaches from floor(i * length / size) to ceil((i + 1) * length / size), computed in float32.
    With n pixels in a window kh * kw, and S the int32 sum of q - zero_point, all in float32:

    - x channels_last, AVX2 and AVX512, in eights of channels: rint(fma(S, m, zero_point)) with m = 1 / n.
    - x channels_last, the channels left over, all on DEFAULT, and qint32: rint(S * m + zero_point).
    - any other x: rint(sum(q) * ((1 / kh) / kw)), of the codes as they are: no zero point, no clamp.
    - the engine qnnpack, quint8, if size divides the length on both axes and is not both lengths: ``avg_pool2d`` with
      the kernel and the stride length / size.

    Source: ``AdaptiveAveragePooling.cpp``, ``QuantizedOpKernels.cpp`` _qadaptive_avg_pool_kernel, FBGEMM
    ``QuantUtils.cc`` Quantize.

    Args:
        x: a per-tensor QTensor of any dtype, (N, C, H, W) or (C, H, W).
        output_size: one integer, or one for height and one for width; at least 1.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        A QTensor with x's scale, zero point and dtype, laid out as ``max_pool2d``'s.

    Raises:
        TypeError, ValueError: as ``max_pool2d``; on qnnpack, if the kernel divides, three dimensions are too few.
    """
    machine = Machine.of(machine)
    _check_image(x)
    size = lengths("output_size", output_size, 2, 1)
    within = x.shape[-2:]
    kernel = tuple(n // m for n, m in zip(within, size, strict=True))
    if _on_qnnpack(x, machine) and within != size and all(n % m == 0 for n, m in zip(within, size, strict=True)):
        return _qnnpack_average(x, [regular_spans(m, k, k, 0) for m, k in zip(size, kernel, strict=True)], kernel)
    spans = [adaptive_spans(n, m) for n, m in zip(within, size, strict=True)]
    kh, kw = (_counts(span, n, 0) for span, n in zip(spans, within, strict=True))
    if not is_channels_last(x.int_repr()):
        s = _sums(x.int_repr(), spans).astype(np.float32)  # of the codes
        return as_written(x, _quantized(x, quantize_in_int32, inverse_of_sides(kh, kw), s, zero_point=0))
    machine.check_bodies()
    s = _sums_of_differences(x, spans)
    m = inverse_of_count(np.multiply.outer(kh, kw))
    ways = in_vectors_of_fbgemm(machine), in_scalars(machine)
    body, tail = (partial(_quantized, x, way, m) for way in ways)
    vectors = x.dtype != "qint32" and machine.capability != "DEFAULT"
    return as_written(x, vectors_first(s, EIGHT if vectors else 0, body, tail))


# The steps


def quantize_in_int32(s: Floats, m: Floats, zero_point: int) -> Codes:
    """rint(s * m + zero_point), rounded after each step; what int32 does not hold becomes -2**31."""
    return cvtps2dq(add_then_round(s * m, zero_point))


def inverse_of_count(n: npt.ArrayLike) -> Floats:
    """1 / n in float32. The kernels hand on 1 / m as a scale, which FBGEMM inverts: that gives m again, for every m."""
    return reciprocal(n)


def inverse_of_sides(kh: Ints, kw: Ints) -> Floats:
    """(1 / kh) / kw in float32, (H_out, W_out), from the sides of the windows (H_out,) and (W_out,)."""
    return np.asarray(reciprocal(kh)[:, None] / kw.astype(np.float32))


def inverse_of_scales(scale: float, n: int) -> Floats:
    """scale / (scale * n) in float32: 1 / n for most, its neighbor for some (qnnpack)."""
    narrow = np.float32(scale)
    return np.asarray(narrow / (narrow * np.float32(n)))


def vectors_first(a: Floats, vector: int, body: Callable[[Floats], Codes], tail: Callable[[Floats], Codes]) -> Codes:
    """(..., C, H, W): body of the whole vectors of channels, tail of those left over."""
    channels = a.shape[-3] // vector * vector if vector else 0
    return np.concatenate([body(a[..., :channels, :, :]), tail(a[..., channels:, :, :])], axis=-3)


def _quantized(x: QTensor, average: Average, m: Floats, s: Floats, zero_point: int | None = None) -> Codes:
    """Codes of s * m, clamped to x's dtype; the zero point is x's if none is given."""
    with np.errstate(over="ignore", invalid="ignore"):
        return saturate(average(s, m, x.q_zero_point() if zero_point is None else zero_point), DTYPES[x.dtype])


def _qnnpack_average(x: QTensor, spans: list[Ints], kernel: tuple[int, ...]) -> QTensor:
    """qnnpack's average pool; what it sees of the padding is the zero point, so it adds nothing to the sum."""
    _check_qnnpack(x, kernel)
    check_normal_scale(x)
    m = inverse_of_scales(x.q_scale(), kernel[0] * kernel[1])
    codes = _quantized(x, in_vectors, m, _sums_of_differences(x, spans))
    return _from_qnnpack(x, codes)


# Where the windows lie, and what they hold. A span (out, 2) holds the first index of each window and the one after its
# last; both may lie outside of the axis.


def regular_spans(out: int, kernel: int, stride: int, padding: int) -> Ints:
    """The spans of windows that lie a stride apart."""
    return np.asarray(np.arange(out)[:, None] * stride - padding + [0, kernel])


def adaptive_spans(length: int, out: int) -> Ints:
    """The spans of windows that cover an axis: floor and ceil of quotients in float32."""
    first = np.arange(out) * length
    edges = [np.floor(first.astype(np.float32) / np.float32(out)),
             np.ceil((first + length).astype(np.float32) / np.float32(out))]  # fmt: skip
    return np.stack(edges, axis=1).astype(np.int64)


def _counts(span: Ints, length: int, margin: int) -> Ints:
    """How many indices each window holds of an axis and a margin on both sides, (out,)."""
    first, last = np.clip(span, -margin, length + margin).T
    return np.asarray(last - first)


def _sums_of_differences(x: QTensor, spans: list[Ints]) -> Floats:
    """The sum of q - zero_point over each window: in int32, which wraps, then rounded to float32."""
    s = _sums(x.int_repr().astype(np.int64) - x.q_zero_point(), spans)
    return s.astype(np.int32).astype(np.float32)


def _sums(a: Codes, spans: list[Ints]) -> Ints:
    """(..., H, W) -> (..., H_out, W_out): the exact sums over the windows, first of their rows, then of these sums."""
    for axis, span in zip((-2, -1), spans, strict=True):
        sums = np.empty((*a.shape[:axis], len(span), *a.shape[axis:][1:]), np.int64)
        for i, ends in enumerate(np.clip(span, 0, a.shape[axis])):
            a[_along(axis, slice(*ends))].sum(axis, np.int64, out=sums[_along(axis, i)])
        a = sums
    return a


def _largest(q: Codes, axis: int, taps: Ints, stride: int, out: int, *, nearest: bool) -> Codes:
    """The largest code of each window along an axis; indices outside count for the nearest, or not at all.

    Args:
        taps: the indices that the first window sees, in order, shape (k,); each of the out windows lies a stride on.
    """
    span = (out - 1) * stride + 1
    reached = np.arange(taps[0], taps[-1] + span)
    padded = np.take(q, reached, axis, mode="clip")
    if not nearest:
        padded[_along(axis, (reached < 0) | (reached >= q.shape[axis]))] = np.iinfo(q.dtype).min
    return reduce(np.maximum, (padded[_along(axis, slice(tap, tap + span, stride))] for tap in taps - taps[0]))


def _along(axis: int, at: Any) -> tuple[Any, ...]:
    """The index of what lies at some indices of an axis, counted from the last, -1."""
    return (..., at, *[slice(None)] * (-axis - 1))


def _out_shape(
    x: QTensor, kernel: Sides, stride: Sides, padding: Sides, dilation: Sides, ceil_mode: bool, least: int = 1
) -> tuple[int, ...]:
    """x's shape with the numbers of windows for H and W: ``Pool.h`` pooling_output_shape."""
    out = []
    for n, k, s, p, d in zip(x.shape[-2:], kernel, stride, padding, dilation, strict=True):
        count = (n + 2 * p - d * (k - 1) - 1 + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode and (count - 1) * s >= n + p:
            count -= 1  # the last window would begin in the padding after x
        out.append(count)
    if min(out) < least:
        raise ValueError(
            f"kernel_size must not be larger than the padded x: {kernel}, dilation {dilation}, x {x.shape}"
        )
    return (*x.shape[:-2], *out)


def as_written(x: QTensor, codes: Codes) -> QTensor:
    """A new tensor of the codes (..., C, H, W), where PyTorch's kernels put them.

    A dense channels_last x goes through a kernel that writes N, H, W, C in this order. The strides of axes of length 1
    may hide what x is, as those of a single pixel do: then the new tensor is made contiguous all the same, and PyTorch
    reads the codes in another order.
    """
    q = x.int_repr()
    if not is_channels_last(q):
        return _new(x, laid_out(codes, dense_strides(codes.shape)))
    written = np.ascontiguousarray(np.moveaxis(codes, 1, -1))
    strides = dense_strides(codes.shape, channels_last=like_channels_last(q))
    return _new(x, np.lib.stride_tricks.as_strided(written, codes.shape, [s * written.itemsize for s in strides]))


def _from_qnnpack(x: QTensor, codes: Codes) -> QTensor:
    """A new tensor of the codes (N, C, H, W): made channels_last, then contiguous if x is and if that changes it."""
    made = laid_out(codes, dense_strides(codes.shape, channels_last=True))
    return _new(x, made_contiguous(made, channels_last=like_channels_last(x.int_repr())))


def _new(x: QTensor, codes: Codes) -> QTensor:
    """Codes with x's scale, zero point and dtype."""
    return QTensor(codes, x.q_scale(), x.q_zero_point(), x.dtype)


# What is refused


def _on_qnnpack(x: QTensor, machine: Machine) -> bool:
    return machine.engine == "qnnpack" and x.dtype == "quint8"


def _check_qnnpack(x: QTensor, kernel: Sides) -> None:
    if x.ndim != 4:
        raise ValueError(f"x must have 4 dimensions on the engine qnnpack: N, C, H and W, got shape {x.shape}")
    if kernel == (1, 1):
        raise ValueError("kernel_size must be more than one pixel on the engine qnnpack, got 1, 1")


def check_normal_scale(x: QTensor) -> None:
    """Refuse a scale that qnnpack's averages do not take."""
    with np.errstate(under="ignore"):
        if np.float32(x.q_scale()) < np.finfo(np.float32).tiny:
            raise ValueError(f"x.q_scale() must be a normal float32 on the engine qnnpack, got {x.q_scale()}")


def _check_image(x: QTensor) -> None:
    check_per_tensor("x", x)
    if x.ndim not in (3, 4):
        raise ValueError(f"x must have 4 dimensions, N, C, H and W, or 3, got shape {x.shape}")
    if 0 in x.shape[-3:]:
        raise ValueError(f"x must not be empty, but for its batch, got shape {x.shape}")


def geometry(x: QTensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any) -> tuple[Sides, ...]:
    """Kernel, stride, padding and dilation of an image's windows, each for height and width; or an error."""
    _check_image(x)
    kernel = lengths("kernel_size", kernel_size, 2, 1)
    step = kernel if stride is None else lengths("stride", stride, 2, 1)
    return kernel, step, lengths("padding", padding, 2, 0), lengths("dilation", dilation, 2, 1)


def _divisor(n: Any) -> int:
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(f"divisor_override must be an integer or None, got {n!r}")
    if n == 0 or not -(2**31) <= n < 2**31:
        raise ValueError(f"divisor_override must be an int32 other than 0, got {n}")
    return int(n)
